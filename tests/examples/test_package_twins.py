"""The main job in C and in Python prints the same of the same input, but for the time it took.
Usage: test_package_twins.py PATH_TO_PACKAGE_EVENTS PYTHON PATH_TO_PACKAGE_EVENTS_PY"""
import difflib
import os
import random
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'lint'))
from tap import Tap   # noqa: E402

RECORDED = Path(__file__).resolve().parent.parent.parent / 'examples' / 'data' / 'dpkg.log'
TIMING = re.compile(r'  [\d.]+ s: [\d,]+ events and [\d,]+ handler calls per second')


def output(program, arguments, data, columns):
    environment = {**os.environ, 'LC_ALL': 'C.UTF-8', 'COLUMNS': str(columns)}
    p = subprocess.run([*program, *arguments], input=data, capture_output=True, env=environment, timeout=100)
    return [f'status {p.returncode}', *TIMING.sub('  (timing)', p.stdout.decode(errors='replace')).splitlines(),
            *p.stderr.decode(errors='replace').splitlines()]


def damaged(seed):
    """The recorded log, a tenth of it spoilt."""
    chance, lines = random.Random(seed), RECORDED.read_bytes().splitlines(keepends=True)
    for i in range(len(lines) // 10):
        at = chance.randrange(len(lines))
        line = bytearray(lines[at])
        if len(line) > 1:
            line[chance.randrange(len(line) - 1)] = chance.choice(b' :-.*0a\x07\xe9\n')
            lines[at] = bytes(line)
    return b''.join(lines)


def main():
    tap, (one, *other) = Tap(), sys.argv[1:]
    log = RECORDED.read_bytes()
    cases = {'the recorded log': ([RECORDED], b'', 80), 'everything counts': (['--ignore', '', RECORDED], b'', 120),
             'patterns': (['-i', 'lib*', '--ignore=clan[g]', '-'], log, 60), 'twice': ([RECORDED, '-'], log, 200),
             'nothing': (['-'], b'', 80), 'empty lines': (['-'], b'\n\n', 80),
             'junk': (['-'], bytes(range(256)) * 100, 80), 'much': (['-'], log * 20, 80), 'missing': (['/nonexistent'], b'', 80), 'help': (['--help'], b'', 80),
             **{f'damaged {seed}': (['-'], damaged(seed), 80) for seed in range(5)}}
    for name, (arguments, data, columns) in cases.items():
        a, b = (output(program, arguments, data, columns) for program in ([one], other))
        tap.check(name, list(difflib.unified_diff(a, b, 'in C', 'in Python', lineterm='')))
    tap.done()


if __name__ == '__main__':
    main()
