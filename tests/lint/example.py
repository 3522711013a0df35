"""Runs an example: it ends with status 0 and prints what NAME.expected beside its source says, where there is one.
Usage: example.py PROGRAM SOURCE, or PYTHON SOURCE.py"""
import difflib
import sys
from pathlib import Path

from tap import Tap, run


def main():
    program, source = Path(sys.argv[1]), Path(sys.argv[2])
    expected = source.with_suffix('.expected')
    tap = Tap()
    command = [program, source] if source.suffix == '.py' else [program.resolve()]
    output, problems = run(command, timeout=110, cwd=source.parent)
    if not problems and expected.exists():
        problems = list(difflib.unified_diff(expected.read_text().splitlines(), output.splitlines(),
                                             expected.name, 'printed', lineterm=''))
    tap.check(f"example {source.name if source.suffix == '.py' else program.name}", problems)
    tap.done()


if __name__ == '__main__':
    main()
