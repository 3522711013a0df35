"""The binary interface is the one that is stored: functions, structs, enums, as abigail-tools sees them.
Usage: abi.py [--renew] STORED.abi CC HEADER DIRECTORY_OF_HEADERS FLAG...

What users compile against is the headers, so this compiles the headers: one pointer to each function and to each type
that they declare, no source of the library. A change that is meant is stored by --renew, where the version allows it:
tools/abi does so."""
import re
import sys
import tempfile
from pathlib import Path

import c_source
from tap import Tap, run

DUMP = ['abidw', '--no-show-locs', '--no-corpus-path', '--no-comp-dir-path', '--no-elf-needed', '--no-parameter-names',
        '--no-write-default-sizes']


def pointers(header, texts):
    """C that has one pointer to everything the texts declare: in one struct, which keeps the file small."""
    functions = c_source.api(texts)
    code = '\n'.join(map(c_source.blank, texts))
    types = set(re.findall(r'^\} *(\w+);', code, re.MULTILINE))
    types |= {'enum ' + name for name in re.findall(r'\benum +(\w+) *\{', code)}
    yield f'#include <mtaio/{header}>'
    yield 'struct {'
    for name in sorted(functions):
        yield f'    __typeof__(&{name}) {name};'
    for name in sorted(types):
        yield f'    {name} *{name.replace(" ", "_")};'
    yield '} interface;'


def dump(cc, header, texts, flags, directory):
    """The file of what is there now, and problems."""
    source, library, now = directory / 'abi.c', directory / 'abi.so', directory / 'now.abi'
    source.write_text('\n'.join(pointers(header, texts)) + '\n')
    problems = run([cc, '-g', '-gdwarf-4', '-fPIC', '-shared', *flags, source, '-o', library])[1]
    return now, problems or run([*DUMP, '--out-file', now, library])[1]


def main():
    renew = sys.argv[1] == '--renew'
    stored, cc, header, include, *flags = sys.argv[1 + renew:]
    texts = [path.read_text() for path in sorted(Path(include).glob('*.h'))]
    tap = Tap()
    with tempfile.TemporaryDirectory() as directory:
        now, problems = dump(cc, header, texts, flags, Path(directory))
        if renew and not problems:
            Path(stored).write_text(now.read_text())
        problems = problems or run(['abidiff', '--no-show-locs', stored, now])[1]
        if problems:
            problems.append(f'meant, and the version allows it? tools/abi stores it in {Path(stored).name}')
        tap.check(f'the types and functions of {header} are those of {Path(stored).name}', problems)
    tap.done()


if __name__ == '__main__':
    main()
