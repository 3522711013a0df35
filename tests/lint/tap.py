"""What the Python checks share: results in the Test Anything Protocol, so that each check counts as one test."""
import subprocess
import sys


class Tap:
    def __init__(self):
        self.count = 0
        self.failures = 0

    def check(self, name, problems):
        """One test: passed where there are no problems, else the problems (lines of text) say why not."""
        self.count += 1
        print('ok' if not problems else 'not ok', self.count, '-', name)
        for problem in problems:
            for line in problem.rstrip().splitlines():
                print('# ' + line)
        self.failures += bool(problems)
        sys.stdout.flush()

    def skip(self, name, reason):
        self.count += 1
        print('ok', self.count, '-', name, '# SKIP', reason, flush=True)

    def done(self):
        print(f'1..{self.count}')
        sys.exit(1 if self.failures else 0)


def run(command, timeout=60, **options):
    """Runs a command; returns its output, and the problems: empty, or what it printed and how it ended."""
    command = [str(word) for word in command]
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, errors='replace', timeout=timeout, **options)
    except subprocess.TimeoutExpired as e:
        return '', [' '.join(command), (e.stdout or b'').decode(errors='replace'), f'still running after {timeout} s']
    if p.returncode != 0:
        return p.stdout, [' '.join(command), p.stdout, f'exit status {p.returncode}']
    return p.stdout, []
