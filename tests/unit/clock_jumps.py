"""Test programs run while the date jumps by ten days to and fro, every few milliseconds, and the monotonic clock does
not: their time limits and timers must not notice (hazard 36). libfaketime does it.
Usage: clock_jumps.py LIBFAKETIME PROGRAM..."""
import itertools
import os
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'lint'))
from tap import Tap, run  # noqa: E402

JUMPS = ['+10d', '-10d']


def environment(library, offset):
    return {**os.environ, 'LD_PRELOAD': library, 'FAKETIME_TIMESTAMP_FILE': str(offset), 'FAKETIME_NO_CACHE': '1',
            'FAKETIME_DONT_FAKE_MONOTONIC': '1',
            'FAKETIME_FORCE_MONOTONIC_FIX': '0'}   # it mends monotonic waits of older C libraries, and breaks these


def put(offset, jump):
    new = offset.with_suffix('.new')
    new.write_text(jump + '\n')
    new.replace(offset)


def jump_until(stop, offset):
    for jump in itertools.cycle(JUMPS):
        put(offset, jump)
        if stop.wait(0.005):
            return


def seen(library, offset):
    """Does a program see the jumps at all? Problems."""
    dates, problems = [], []
    for jump in JUMPS:
        put(offset, jump)
        output, p = run(['date', '+%s'], env=environment(library, offset))
        problems += p
        dates.append(output.strip())
    if not problems and int(dates[0]) - int(dates[1]) < 19 * 86400:
        problems = [f'the date does not jump: {dates}']
    return problems


def main():
    library, *programs = sys.argv[1:]
    tap, stop = Tap(), threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        offset = Path(directory) / 'offset'
        tap.check('the date jumps', seen(library, offset))
        thread = threading.Thread(target=jump_until, args=(stop, offset))
        thread.start()
        for program in programs:
            tap.check(f'{Path(program).stem} does not notice',
                      run([program], timeout=240, env=environment(library, offset))[1])
        stop.set()
        thread.join()
    tap.done()


if __name__ == '__main__':
    main()
