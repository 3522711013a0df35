"""What the libraries export is what the headers declare, and what the symbol map lists.
Usage: symbols.py INCLUDE_DIR MAP SHARED_LIBRARY STATIC_LIBRARY"""
import re
import sys
from pathlib import Path

import c_source
from tap import Tap, run

# A library does not end the process, read its environment or print (the last resort writes to descriptor 2).
NOT_OURS_TO_CALL = {'abort', 'exit', '_exit', 'getenv', 'secure_getenv', 'printf', 'fprintf', 'puts', 'fputs', 'perror'}


def symbols(library, *options):
    """Name -> type letter."""
    output, problems = run(['nm', *options, library])
    if problems:
        sys.exit('\n'.join(problems))
    words = [line.split() for line in output.splitlines()]
    return {w[-1].split('@')[0]: w[-2] for w in words if len(w) >= 2 and len(w[-2]) == 1}


def difference(what, names, than, others):
    return [f'{what}, but not {than}: {name}' for name in sorted(names - others)]


def main():
    include, ledger, shared, static = map(Path, sys.argv[1:])
    tap = Tap()
    api = c_source.api(p.read_text() for p in include.glob('mtaio/*.h'))
    listed = set(re.findall(r'(\w+);', re.search(r'global:(.*?)local:', ledger.read_text(), re.DOTALL).group(1)))
    exported = symbols(shared, '-D', '--defined-only')
    versions = {name for name, kind in exported.items() if kind == 'A'}
    functions = exported.keys() - versions
    tap.check('the map lists the functions of the headers',
              difference('in the headers', api, 'in the map', listed) +
              difference('in the map', listed, 'in the headers', api))
    tap.check('the shared library exports the functions of the headers',
              difference('declared', api, 'exported', functions) +
              difference('exported', functions, 'declared', api))
    tap.check('the shared library exports functions alone',
              [f'not a function: {name}' for name in functions if exported[name] != 'T'])
    tap.check('the shared library never ends the process, prints or reads the environment',
              [f'calls {name}' for name in sorted(symbols(shared, '-D', '--undefined-only').keys() & NOT_OURS_TO_CALL)])
    inner = symbols(static, '-g', '--defined-only').keys() - api
    tap.check('the static library adds names of ours alone',
              [f'global: {name}' for name in sorted(inner) if not name.startswith(('mtaio__', 'os_'))])
    tap.done()


if __name__ == '__main__':
    main()
