"""Which files package_events.py reads, lines of any length out of them, and what a line says.

Lines are ASCII with escaped bytes (surrogateescape): what is in a log is shown and counted byte by byte."""
import errno
import gzip
import os
import re
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

LINE_LIMIT = 64 * 1024
SYSTEM_LOGS = '/var/log'
RECORDED_LOG = Path(__file__).resolve().parent / 'data' / 'dpkg.log'

PACKAGE = {f'package.{word}' for word in (
    'configure', 'install', 'upgrade', 'trigproc', 'remove', 'purge', 'disappear')}
STATUS = {f'status.{word}' for word in (
    'unpacked', 'half-configured', 'installed', 'half-installed', 'triggers-pending', 'triggers-awaited',
    'config-files', 'not-installed')}
STARTUP = {f'startup.{words}' for words in (
    'archives.unpack', 'archives.install', 'archives.record-avail', 'packages.configure', 'packages.triggers-only',
    'packages.remove', 'packages.purge')}
CONFFILE = {'conffile.install', 'conffile.keep'}

CONTROL = re.compile('[\x00-\x1f\x7f]')
TIME = re.compile(r'[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01]) '
                  r'(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60) .')


class Trouble(Exception):
    """Something could not be read."""


def complain(message):
    sys.stdout.flush()
    print(f'package_events: {message}', file=sys.stderr)


# --- Which files

def source_name(path):
    return 'standard input' if path == '-' else path


def rotation(name):
    """dpkg.log: 0, dpkg.log.1: 1, dpkg.log.2.gz: 2; anything else: None."""
    found = re.fullmatch(r'dpkg\.log(?:\.([1-9][0-9]{0,4})(?:\.gz)?)?', name)
    return found and int(found[1] or 0)


def logs_of(directory):
    try:
        names = [name for name in os.listdir(directory) if rotation(name) is not None]
    except OSError as error:
        raise Trouble(f'{directory}: {error.strerror}') from None
    return [os.path.join(directory, name) for name in sorted(names, key=rotation, reverse=True)]


def has_content(path):
    return os.path.exists(path) and (not os.path.isfile(path) or os.path.getsize(path) > 0)


class Sources:
    """The files to read: what the arguments name, or the machine's own logs, or the recorded one."""

    def __init__(self, arguments):
        self.files = []
        for argument in arguments:
            found = logs_of(argument) if os.path.isdir(argument) else [argument]
            if not found:
                raise Trouble(f'{argument}: is a directory without a dpkg.log')
            self.files += found
        if not arguments:
            self.files = logs_of(SYSTEM_LOGS) if os.path.isdir(SYSTEM_LOGS) else []
            if not any(map(has_content, self.files)):
                print(f'This machine has no package history in {SYSTEM_LOGS}: here is a recorded one.')
                self.files.append(str(RECORDED_LOG))

    @property
    def names(self):
        return [source_name(path) for path in self.files]


# --- Lines out of a file

def open_source(path):
    if path == '-' and sys.stdin is None:   # somebody else may have got that descriptor
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    raw = open(os.dup(0) if path == '-' else path, 'rb', buffering=4 * LINE_LIMIT)
    try:
        packed = os.pread(raw.fileno(), 2, 0) == b'\x1f\x8b'
    except OSError:   # a pipe
        packed = False
    return gzip.open(raw) if packed else raw


def read_lines(path):
    """Each line, without its end; of one longer than LINE_LIMIT the beginning."""
    try:
        with open_source(path) as file:
            while line := file.readline(LINE_LIMIT + 2):
                yield line.removesuffix(b'\n').decode('ascii', 'surrogateescape')
                while len(line) == LINE_LIMIT + 2 and not line.endswith(b'\n'):
                    line = file.readline(LINE_LIMIT + 2)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Trouble(f'{source_name(path)}: could not be decompressed to its end') from None
    except OSError as error:
        raise Trouble(f'{source_name(path)}: {error.strerror}') from None


# --- What a line says

@dataclass(slots=True)
class Entry:
    """A line of the log: the data of every event."""
    source: str            # the file, and the line in it
    number: int
    when: str = ''         # '2025-06-24 14:36:25'
    package: str = ''      # 'libc6', of package.* and status.*
    architecture: str = ''
    old_version: str = ''  # of package.*: '<none>' where there was none
    version: str = ''      # of package.*: the new one; of status.*: the one it is about
    file: str = ''         # of conffile.*
    text: str = ''         # of error: the line as it was
    problem: str = ''      # of error: what is wrong with it


def parse(line, source, number):
    """The name of the line's event, and its entry; 'error' for what cannot be understood."""
    if len(line) > LINE_LIMIT:
        problem = 'is longer than 64 KiB'
    elif CONTROL.search(line):
        problem = 'holds control characters'
    elif not TIME.match(line):
        problem = 'does not begin with a date and a time'
    else:
        entry = Entry(source, number, line[:19])
        name = parse_words(line[20:].split(' '), entry)
        if name:
            return name, entry
        problem = 'is nothing that dpkg is known to write'
    return 'error', Entry(source, number, text=line.partition('\0')[0], problem=problem)


def parse_words(words, entry):
    """'install PACKAGE OLD NEW', 'status STATE PACKAGE VERSION', 'startup ...', 'conffile FILE WORD'."""
    if len(words) == 4:
        if words[0] == 'status':
            name, known, package = f'status.{words[1]}', STATUS, words[2]
        else:
            name, known, package = f'package.{words[0]}', PACKAGE, words[1]
            entry.old_version = words[2]
        entry.package, _, entry.architecture = package.partition(':')
        entry.version = words[3]
        return name if name in known and entry.package and words[2] and words[3] else None
    if len(words) == 3 and words[0] == 'startup':
        name = f'startup.{words[1]}.{words[2]}'
        return name if name in STARTUP else None
    if len(words) == 3 and words[0] == 'conffile':
        entry.file = words[1]
        return f'conffile.{words[2]}' if f'conffile.{words[2]}' in CONFFILE else None
    return None
