"""Each public header compiles alone, twice in one file, as C17 and as C++17, pedantically, with gcc and clang.
Usage: headers.py INCLUDE_DIR [PACKAGE ANOTHER_DIR]
PACKAGE is what pkg-config calls the foreign library that an adapter's headers include; ANOTHER_DIR has ours."""
import sys
import tempfile
from pathlib import Path

from tap import Tap, run

COMPILERS = [('gcc', 'c', 'c17'), ('clang-14', 'c', 'c17'), ('g++', 'c++', 'c++17'), ('clang++-14', 'c++', 'c++17')]
WARNINGS = ['-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wshadow', '-Wundef', '-Werror']


def main():
    include, *foreign = sys.argv[1:]
    include, tap, flags = Path(include), Tap(), []
    if foreign:
        output, problems = run(['pkg-config', '--cflags', foreign[0]])
        tap.check(f'pkg-config knows {foreign[0]}', problems)
        flags = ['-D_POSIX_C_SOURCE=200809L', f'-I{foreign[1]}', *output.replace('-I', '-isystem').split()]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / 'header'
        for header in sorted(p.relative_to(include).as_posix() for p in include.glob('mtaio/*.h')):
            source.write_text(f'#include <{header}>\n' * 2)
            for compiler, language, standard in COMPILERS:
                output, problems = run([compiler, '-x', language, f'-std={standard}', *WARNINGS, '-fsyntax-only',
                                        f'-I{include}', *flags, source])
                tap.check(f'{header} as {standard} by {compiler}', problems)
    tap.done()


if __name__ == '__main__':
    main()
