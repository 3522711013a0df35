"""Runs the main job on real and on bad input and compares its counts with counts made here, independently.
Usage: test_package_events.py PATH_TO_PACKAGE_EVENTS, or: PYTHON PATH_TO_PACKAGE_EVENTS_PY"""
import collections
import gzip
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'lint'))
from tap import Tap   # noqa: E402

RECORDED = Path(__file__).resolve().parent.parent.parent / 'examples' / 'data' / 'dpkg.log'
GOOD = b'2025-06-24 14:36:25 install libc6:amd64 <none> 2.36-9\n'
FINE, TROUBLE, USAGE = 0, 1, 2


def number(text):
    return int(text.replace(',', ''))


class Output:
    """What one run printed, taken apart again: rows by section, and the totals."""

    def __init__(self, process):
        self.status = process.returncode
        self.text = process.stdout.decode(errors='replace')
        self.errors = process.stderr.decode(errors='replace')
        self.rows, title = collections.defaultdict(dict), ''
        for line in self.text.splitlines():
            row = re.match(r'  (\S+) +([\d,]+)  ', line + '  ')
            if row:
                self.rows[title][row[1]] = number(row[2])
            elif line and not line.startswith(' '):
                title = re.split(r'[,(]', line)[0].strip()
        m = re.search(r'([\d,]+) lines read = ([\d,]+) events \+ ([\d,]+) malformed \+ ([\d,]+) empty; '
                      r'([\d,]+) events ignored', self.text)
        self.totals = tuple(map(number, m.groups()[:4])) if m else None
        self.ignored = number(m[5]) if m else None


def count(lines, ignored=('man-db',)):
    """The same counts from the text of a well-formed log."""
    c = collections.defaultdict(collections.Counter)
    for line in lines:
        date, _, action, *words = line.split()
        name = {'status': f'status.{words[0]}', 'startup': f'startup.{words[0]}.{words[1]}'}.get(
            action, f'package.{action}')
        c['names'][name] += 1
        if action == 'status':
            c['minutes'][f'{date} {line[11:16]}'] += 1
        elif action == 'startup':
            c['commands'][f'{words[0]}.{words[1]}'] += 1
        elif action != 'conffile':
            c['hours'][f'{line[11:13]}:00'] += 1
        package = {'status': words[1], 'startup': ':'}.get(action, words[0]).split(':')[0]
        if package in ignored:
            c['ignored']['all'] += 1
        elif name.startswith('package.'):
            c['actions'][name] += 1
            c['libraries'][name] += package.startswith('lib')
            c['days'][date] += 1
            c['packages'][package] += 1
            upstream = [version.rpartition('-')[0] or version for version in words[1:]]
            c['upgrades'][upstream[0] == upstream[1]] += action == 'upgrade'
    return c


class Suite:
    def __init__(self, program, directory):
        self.program, self.directory, self.tap, self.problems = program, Path(directory), Tap(), []

    def run(self, *arguments, data=b'', locale='C.UTF-8', columns=80, **options):
        environment = {**os.environ, 'LC_ALL': locale, 'COLUMNS': str(columns)}
        process = {'input': data, 'stdout': subprocess.PIPE, **options}
        return Output(subprocess.run([*self.program, *arguments], env=environment, stderr=subprocess.PIPE,
                                     cwd=self.directory, timeout=100, **process))

    def file(self, name, content):
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def equal(self, what, found, wanted):
        if found != wanted:
            self.problems.append(f'{what}: {found!r}, not {wanted!r}')

    def has(self, text, part):
        if part not in text:
            self.problems.append(f'{part!r} is not in {text!r}')

    def run_all(self):
        for name in [name for name in dir(self) if name.startswith('test_')]:
            self.problems = []
            getattr(self, name)()
            self.tap.check(name[5:].replace('_', ' '), self.problems)
        self.tap.done()

    # --- Good input

    def compare(self, out, lines, ignored):
        wanted = count(lines, ignored)
        self.equal('status', (out.status, out.errors), (FINE, ''))
        self.equal('totals', out.totals, (len(lines), len(lines), 0, 0))
        self.equal('ignored', out.ignored, wanted['ignored']['all'])
        self.equal('names', out.rows['Events by name'], dict(wanted['names']))
        self.equal('actions', out.rows['Package actions'], dict(wanted['actions']))
        self.equal('days', out.rows['Changes per day'], dict(wanted['days']))
        packages = sorted(wanted['packages'].items(), key=lambda item: (-item[1], item[0]))[:10]
        self.equal('packages', list(out.rows['Most changed packages'].items()), packages)
        self.equal('hours', out.rows['Changes by hour of the day'], dict(wanted['hours']))
        self.equal('commands', out.rows['Commands of dpkg'], dict(wanted['commands']))
        minutes = sorted(wanted['minutes'].items(), key=lambda item: (-item[1], item[0]))[:5]
        self.equal('minutes', re.findall(r'^  (\S+ \d\d:\d\d) +([\d,]+)  ', out.text, re.MULTILINE),
                   [(minute, f'{n:,}') for minute, n in minutes])
        dropped = max(0, len(lines) - 5)
        received = len(lines) - dropped + sum(sum(wanted[part].values()) for part in ('hours', 'commands', 'minutes'))
        self.has(out.text, f'Latest events ({dropped:,} earlier ones were dropped for this slow subscriber)')
        self.has(out.text, f'  {received + dropped:,} messages for subscribers = {received:,} delivered + '
                           f'{dropped:,} dropped')
        for line in lines[-5:]:
            self.has(out.text, f'\n  {line[:19]} ')
        for name, libraries in wanted['libraries'].items():
            self.has(re.sub(' +', ' ', out.text), f" {name} {wanted['actions'][name]:,} {libraries:,} ")
        self.has(out.text, f"upgrades: {wanted['upgrades'][False]} to a new upstream version, "
                           f"{wanted['upgrades'][True]} to a new Debian revision")
        self.has(out.text, f'Period: {lines[0][:19]} to {lines[-1][:19]}\n')

    def test_recorded_log(self):
        lines = RECORDED.read_text().splitlines()
        self.compare(self.run(RECORDED), lines, ['man-db'])

    def test_ignoring(self):
        lines = RECORDED.read_text().splitlines()
        self.compare(self.run('--ignore', '', RECORDED), lines, [])
        self.compare(self.run('-i', 'libc6', '--ignore=clan[g]', RECORDED), lines, ['libc6', 'clang'])

    def test_standard_input(self):
        out = self.run('-', data=RECORDED.read_bytes())
        self.compare(out, RECORDED.read_text().splitlines(), ['man-db'])
        self.has(out.text, 'Package events from standard input\n')

    def test_system_log(self):
        """Without arguments: the machine's own, or the recorded one, and says so."""
        out = self.run()
        self.equal('adds up', out.totals[0], sum(out.totals[1:]))
        if not any(p.stat().st_size for p in Path('/var/log').glob('dpkg.log*')):
            self.has(out.text, 'has no package history in /var/log: here is a recorded one')

    def test_rotated_logs_oldest_first(self):
        lines = RECORDED.read_bytes().splitlines(keepends=True)
        parts = [b''.join(lines[i * 100:(i + 1) * 100]) for i in range(12)]
        for i, part in enumerate(parts):   # dpkg.log.11.gz, ..., dpkg.log.2.gz, dpkg.log.1, dpkg.log
            n = len(parts) - 1 - i
            name = 'logs/dpkg.log' + (f'.{n}' if n else '') + ('.gz' if n > 1 else '')
            self.file(name, gzip.compress(part) if n > 1 else part)
        for name in 'dpkg.log.bak', 'dpkg.log.0', 'alternatives.log', 'dpkg.log.1.xz':
            self.file('logs/' + name, b'not to be read\n')
        out = self.run('logs')
        self.compare(out, RECORDED.read_text().splitlines(), ['man-db'])
        names = re.findall(r'logs/dpkg\.log[\d.gz]*', out.text.splitlines()[0])
        self.equal('order', [names[0], *names[-3:]],
                   ['logs/dpkg.log.11.gz', 'logs/dpkg.log.2.gz', 'logs/dpkg.log.1', 'logs/dpkg.log'])

    def test_compressed_standard_input(self):
        with open(self.file('input.gz', gzip.compress(RECORDED.read_bytes())), 'rb') as f:
            out = self.run('-', input=None, stdin=f)
        self.compare(out, RECORDED.read_text().splitlines(), ['man-db'])

    def test_first_event_is_told_once(self):
        out = self.run(RECORDED, '-', data=RECORDED.read_bytes())
        found = [line for line in out.text.splitlines() if line.startswith('First event')]
        self.equal('first', found, [f'First event: startup.archives.unpack, line 1 of {RECORDED}'])

    def test_bars_fit_the_screen(self):
        for columns in 60, 80, 132:
            out = self.run(RECORDED, columns=columns)
            lines = [line for line in out.text.splitlines() if '█' in line and not line.startswith('  highest')]
            self.equal('width', [line for line in lines if len(line) > max(columns, 76)], [])
            self.equal('bars', len(lines) > 20, True)
        self.equal('ASCII', self.run(RECORDED, locale='C').text.isascii(), True)

    def test_unfinished_packages(self):
        text = GOOD + b''.join(GOOD[:20] + b'status ' + status + b' 1-1\n' for status in (
            b'half-installed broken:amd64', b'unpacked mended:all', b'installed mended:all',
            b'config-files removed:all', b'not-installed purged:all'))
        out = self.run('-', data=text)
        self.has(out.text, '\nFailures\n  broken was left half-installed\n\n')
        self.equal('status', out.status, FINE)

    def test_names_of_every_kind(self):
        actions = [b'disappear a 1 <none>', b'purge a 1 <none>', b'conffile /etc/a keep',
                   b'conffile /etc/a install', b'startup packages triggers-only',
                   b'startup archives record-avail', b'status triggers-awaited a:i386 1']
        out = self.run('-', data=b''.join(GOOD[:20] + action + b'\n' for action in actions))
        self.equal('totals', (out.status, out.totals), (FINE, (7, 7, 0, 0)))
        self.equal('names', sorted(out.rows['Events by name']), [
            'conffile.install', 'conffile.keep', 'package.disappear', 'package.purge',
            'startup.archives.record-avail', 'startup.packages.triggers-only', 'status.triggers-awaited'])

    def test_long_input(self):
        times = 200
        out = self.run('-', data=RECORDED.read_bytes() * times)
        lines = times * len(RECORDED.read_text().splitlines())
        self.equal('totals', (out.status, out.totals), (FINE, (lines, lines, 0, 0)))

    def test_progress_only_on_a_terminal(self):
        screen, terminal = os.openpty()
        with subprocess.Popen([*self.program, '-'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=terminal) as p:
            p.stdin.write(GOOD * 30000)
            time.sleep(0.7)   # a short input shows none
            p.stdin.write(GOOD * 30000)
            p.stdin.close()
        os.close(terminal)
        self.equal('status', p.returncode, FINE)
        self.has(os.read(screen, 10000).decode(), ' lines, now in standard input')
        os.close(screen)

    # --- Bad input

    def test_malformed_lines(self):
        bad = [b'x', b' ', GOOD[:19], GOOD[:20], GOOD[1:-1], b'2025-13-24' + GOOD[10:-1], GOOD[:-1] + b' more',
               GOOD[:-1] + b' ', GOOD[:11] + b'24:00:00' + GOOD[19:-1], GOOD[:20] + b'explode libc6:amd64 1 2',
               GOOD[:20] + b'status exploded libc6:amd64 1', GOOD[:20] + b'startup archives explode',
               GOOD[:20] + b'install :amd64 1 2', GOOD[:20] + b'install  1 2', GOOD[:20] + b'startup',
               GOOD[:20] + b'conffile /etc/x', GOOD[:-1] + b'\r', GOOD[:30] + b'\0' + GOOD[30:-1],
               GOOD[:20] + b'install libc6\t1 2 3', GOOD[:20] + b' ' * 1000, '2025—06'.encode(), b'\xff\xfe\xfd']
        out = self.run('-', data=GOOD + b'\n'.join(bad) + b'\n\n\n' + GOOD)
        self.equal('status', out.status, FINE)
        self.equal('totals', out.totals, (len(bad) + 4, 2, len(bad), 2))
        self.equal('errors', out.rows['Events by name'], {'error': len(bad), 'package.install': 2})
        self.has(out.text, '  standard input:2 does not begin with a date and a time: x\n')
        self.has(out.text, f'  and {len(bad) - 5} more malformed lines\n')
        only = self.run('-', data=GOOD + bad[9] + b'\n')
        self.has(only.text, 'standard input:2 is nothing that dpkg is known to write: ' + bad[9].decode() + '\n')

    def test_binary_junk(self):
        for junk in random.Random(1).randbytes(300000), bytes(300000), b'\xff' * 5000 + b'\n' * 5:
            out = self.run('-', data=junk)
            self.equal('status', out.status, TROUBLE)
            self.equal('adds up', out.totals[0], sum(out.totals[1:]))
            self.has(out.errors, 'not one line of ')
            self.equal('printable', [c for c in out.text if c != '\n' and not c.isprintable()], [])

    def test_nothing_reaches_the_terminal(self):
        out = self.run('-', data=GOOD + GOOD.replace(b'libc6', b'lib\xc2\x9bc') + b'\x1b[31mred\n')
        self.equal('text', [c for c in out.text if c not in '\n█▏▎▍▌▋▊▉' and not ' ' <= c <= '~'], [])
        self.has(out.text, '?[31mred')

    def test_very_long_lines(self):
        limit = 64 * 1024
        longest = GOOD[:20] + b'install ' + b'p' * (limit - len(GOOD[:20]) - len(b'install ') - 4) + b' 1 2'
        for text, wanted in ((longest, (3, 3, 0, 0)), (longest + b'2', (3, 2, 1, 0)),
                             (b'x' * 5000000, (3, 2, 1, 0)), (b'x' * (4 * limit), (3, 2, 1, 0))):
            out = self.run('-', data=GOOD + text + b'\n' + GOOD)
            self.equal(f'{len(text)} bytes', (out.status, out.totals), (FINE, wanted))
        out = self.run('-', data=GOOD + b'x' * 5000000)
        self.equal('at the end', (out.status, out.totals), (FINE, (2, 1, 1, 0)))
        self.has(out.text, 'standard input:2 is longer than 64 KiB: xxx')

    def test_last_line_without_newline(self):
        out = self.run('-', data=GOOD + GOOD[:-1])
        self.equal('totals', (out.status, out.totals), (FINE, (2, 2, 0, 0)))

    def test_empty_input(self):
        for data, wanted in ((b'', (0, 0, 0, 0)), (b'\n\n\n', (3, 0, 0, 3))):
            out = self.run(self.file('empty', data))
            self.equal('totals', (out.status, out.errors, out.totals), (FINE, '', wanted))

    def test_sources_that_cannot_be_read(self):
        (self.directory / 'nothing').mkdir()
        self.file('good', GOOD)
        sources = {'missing': 'missing: No such file or directory',
                   'good/log': 'good/log: Not a directory',
                   'nothing': 'nothing: is a directory without a dpkg.log'}
        if os.getuid() != 0:
            self.file('secret', GOOD).chmod(0)
            sources['secret'] = 'secret: Permission denied'
        for source, message in sources.items():
            out = self.run(source)
            self.equal(source, (out.status, out.errors), (TROUBLE, f'package_events: {message}\n'))

    def test_good_source_beside_a_missing_one(self):
        self.file('good', GOOD)
        out = self.run('missing', 'good')
        self.equal('totals', (out.status, out.totals), (TROUBLE, (1, 1, 0, 0)))
        self.has(out.errors, 'missing: No such file or directory')

    def test_damaged_compressed_file(self):
        packed = gzip.compress(RECORDED.read_bytes())
        for name, data in {'short.gz': packed[:len(packed) // 2], 'junk.gz': packed[:2] + b'junk'}.items():
            out = self.run(self.file(name, data))
            self.equal('status', out.status, TROUBLE)
            self.has(out.errors, f'{name}: could not be decompressed to its end')

    def test_descriptors_that_cannot_be_used(self):
        process = subprocess.run(['sh', '-c', '"$@" >/dev/full', 'sh', *self.program, RECORDED], timeout=60,
                                 stderr=subprocess.PIPE)
        self.equal('full', process.returncode, TROUBLE)
        self.has(process.stderr.decode(), 'cannot write: No space left on device')
        process = subprocess.run(['sh', '-c', '"$@" - <&-', 'sh', *self.program], timeout=60, stderr=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        self.equal('no input', process.returncode, TROUBLE)
        self.has(process.stderr.decode(), 'Bad file descriptor')

    def test_usage(self):
        for arguments in ['--nonsense'], ['-x'], ['--ignore'], ['-i']:
            out = self.run(*arguments)
            self.equal(str(arguments), (out.status, out.text), (USAGE, ''))
            self.has(out.errors, "Try 'package_events --help'.")
        out = self.run('--help')
        self.equal('help', (out.status, out.errors), (FINE, ''))
        self.has(out.text, 'Usage: package_events ')


def main():
    with tempfile.TemporaryDirectory() as directory:
        Suite([str(Path(word).absolute()) for word in sys.argv[1:]], directory).run_all()


if __name__ == '__main__':
    main()
