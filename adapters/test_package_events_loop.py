"""The package history in a loop: all that holds of package_events, the same output, and a loop that never waits for
the log.
Usage: test_package_events_loop.py PACKAGE_EVENTS PROGRAM"""
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests' / 'examples'))
import test_package_events as plain  # noqa: E402


def figures(out):
    """What was printed but for the times it took."""
    return out.status, out.errors, re.sub(r'(?m)^  [\d.]+ s: .*$', '', out.text)


class Suite(plain.Suite):
    def __init__(self, other, program, directory):
        super().__init__(program, directory)
        self.other = plain.Suite(other, directory)

    def test_same_figures_as_without_a_loop(self):
        log = plain.RECORDED.read_bytes()
        self.file('good', plain.GOOD * 3)
        for arguments, data in (([plain.RECORDED], b''), (['-'], log * 20), (['-i', 'lib*', plain.RECORDED, '-'], log),
                                (['-'], log[:5000] + b'junk\n\n' + log[5000:]), (['good', 'missing', 'good'], b'')):
            self.equal(str(arguments), figures(self.run(*arguments, data=data)),
                       figures(self.other.run(*arguments, data=data)))

    def test_descriptors_that_cannot_be_used(self):
        """Not a closed standard input: the loop's own descriptors take its place, and libuv ends the process."""
        with open('/dev/full', 'wb') as full:
            out = subprocess.run([*self.program, plain.RECORDED], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.equal('status', out.returncode, plain.TROUBLE)
        self.has(out.stderr.decode(), 'cannot write: No space left on device')

    def test_loop_goes_on_while_the_log_is_silent(self):
        """The timer of the loop shows progress although not one line comes."""
        screen, terminal = os.openpty()
        with subprocess.Popen([*self.program, '-'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=terminal) as p:
            p.stdin.write(plain.GOOD * 3)
            p.stdin.flush()
            time.sleep(1)   # a short input shows none
            self.has(os.read(screen, 10000).decode(), '3 lines, now in standard input')
            p.stdin.close()
        os.close(terminal)
        os.close(screen)
        self.equal('status', p.returncode, plain.FINE)


def main():
    with tempfile.TemporaryDirectory() as directory:
        Suite(*([str(Path(program).resolve())] for program in sys.argv[1:3]), directory).run_all()


if __name__ == '__main__':
    main()
