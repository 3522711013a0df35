"""clang's analyser and its checks for defects find nothing in the library.
Usage: tidy.py CLANG_TIDY SOURCE_ROOT"""
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tap import Tap, run


def main():
    clang_tidy, root = sys.argv[1], Path(sys.argv[2])
    sources = sorted(p.relative_to(root) for p in (root / 'src').rglob('*.c'))

    def check(source):
        return run([clang_tidy, '--quiet', source, '--', '-std=c17', '-DMTAIO_DEBUG', '-Iinclude', '-Isrc'],
                   timeout=200, cwd=root)[1]

    tap = Tap()
    with ThreadPoolExecutor(2) as pool:
        for source, problems in zip(sources, pool.map(check, sources)):
            tap.check(f'{source} by clang-tidy', problems)
    tap.done()


if __name__ == '__main__':
    main()
