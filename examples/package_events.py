#!/usr/bin/python3
"""The package history of a Debian machine as a stream of events: the twin of package_events.c, in Python.

Every line of dpkg's log is emitted as an event: package.upgrade, status.installed, startup.archives.unpack; a line that
cannot be understood, as an error event. Handlers count, and a summary is printed at the end.

  lines --+-- handlers by priority
          +-- filter (libraries) -- count_library
          +-- map (line -> day) --- count_day
          +-- collect_change -- a batch for each dpkg run -- runs -- study_run, on a thread
          +-- publish -- the channel -- its subscribers, three tasks and one that reads at the end

package_events_input.py reads and parses, package_events_report.py prints."""
import asyncio
import contextlib
import fnmatch
import getopt
import os
import sys
import time

from mtaio.events import Channel, Event, EventEmitter, EventPriority
from mtaio.exceptions import EventError

from package_events_input import Sources, Trouble, complain, parse, read_lines
from package_events_report import SAMPLES, Figures, grouped, report

USAGE = """\
Usage: package_events [--ignore PATTERN]... [SOURCE]...
Shows what happened to the packages of a Debian machine, from dpkg's log.

SOURCE is a log, plain or compressed by gzip; a directory: its dpkg.log and the rotated ones
dpkg.log.1, dpkg.log.2.gz, ... oldest first; or - for the standard input.
Default: /var/log, or a recorded log where this machine has none.

  -i, --ignore PATTERN  count these packages as ignored and nothing else (default: man-db, whose
                        triggers follow nearly every run); '' for none
  -h, --help            show this

Exit status: 0, 1: something could not be read or is no such log, 2: wrong usage.
"""


class Program:
    """The emitters, the channel, and who listens to what: the table is at the end."""

    def __init__(self, ignored, figures):
        self.ignored, self.figures = ignored, figures
        self.lines, self.runs = EventEmitter(), EventEmitter()
        self.libraries = self.lines.filter(lambda event: event.data.package.startswith('lib'), 'package.*')
        self.days = self.lines.map(lambda event: Event(event.name, event.data.when[:10]), 'package.*')
        self.run = contextlib.AsyncExitStack()   # holds the batch of the dpkg run that is being read,
        self.collecting = False                  # if there is one
        self.feed = Channel[str]('feed')
        self.readers = []

    # --- Handlers of lines, in the order in which they are called

    def print_first(self, event):
        print(f'First event: {event.name}, line {grouped(event.data.number)} of {event.data.source}')

    def stop_ignored(self, event):
        if any(fnmatch.fnmatchcase(event.data.package, pattern) for pattern in self.ignored):
            self.figures.ignored += 1
            event.propagate = False

    async def end_run(self, event=None):
        """A dpkg run begins, so the one before is complete: its batch is delivered."""
        self.collecting = False
        await self.run.aclose()

    def count_action(self, event):
        self.figures.actions[event.name] += 1

    def follow_state(self, event):
        self.figures.states[event.data.package] = event.name.removeprefix('status.')

    def note_malformed(self, event):
        entry = event.data
        self.figures.malformed += 1
        if len(self.figures.samples) < SAMPLES:
            self.figures.samples.append(f'{entry.source}:{entry.number} {entry.problem}: {entry.text[:60]}'[:159])

    async def collect_change(self, event):
        if not self.collecting:
            await self.run.enter_async_context(self.runs.batch_operations())
            self.collecting = True
        await self.runs.emit(event.name, event.data)
        self.figures.collected += 1

    def watch(self, event):
        """Sees everything, ignored or not, after all others."""
        figures, when = self.figures, event.data.when
        figures.names[event.name] += 1
        if event.name != 'error':
            figures.events += 1
            figures.first = min(figures.first or when, when)
            figures.last = max(figures.last, when)

    async def publish(self, event):
        """Everything that was understood goes to the channel; where a buffer is full, this waits."""
        if event.name != 'error':
            text = f'{event.data.when} {event.data.package or ""}'[:199]
            self.figures.published += 1
            self.figures.reached += await self.feed.publish(text, topic=event.name)

    # --- Behind the filter and the map

    def count_library(self, event):
        self.figures.libraries[event.name] += 1

    def count_day(self, event):
        self.figures.days[event.data] += 1

    # --- A whole dpkg run as one batch

    async def study_run(self, event):
        await asyncio.to_thread(self.study, event.events)

    def study(self, events):
        figures = self.figures
        for event in events:
            figures.changed[event.data.package] += 1
            if event.name == 'package.upgrade':
                old, new = (version.rpartition('-')[0] or version
                            for version in (event.data.old_version, event.data.version))
                figures.new_revision += old == new
                figures.new_upstream += old != new
        if len(events) > figures.largest_run:
            figures.largest_run, figures.largest_when = len(events), events[0].data.when
        figures.studied += len(events)
        figures.runs += 1

    # --- The channel

    async def subscribe(self):
        figures = self.figures
        for pattern, table, key in (
                ('package.*', figures.hours, lambda message: f'{message.data[11:13]}:00'),
                ('startup.**', figures.commands, lambda message: message.topic.removeprefix('startup.')),
                ('status.*', figures.minutes, lambda message: message.data[:16])):
            subscriber = await self.feed.subscribe([pattern], buffer_size=256)
            self.readers.append(asyncio.create_task(self.read(subscriber, table, key)))
        self.latest = await self.feed.subscribe(buffer_size=SAMPLES, overflow='drop_oldest')

    async def read(self, subscriber, table, key):
        async for message in subscriber:
            table[key(message)] += 1
            self.figures.delivered += 1

    async def finish_feed(self):
        """The tasks receive what they were sent, then the end; the slow subscriber reads what is left for it."""
        await self.feed.close()
        await asyncio.gather(*self.readers)
        async for message in self.latest:
            self.figures.delivered += 1
            self.figures.missed += message.missed
            self.figures.latest.append(f'{message.data[:19]} {message.topic} {message.data[20:]}')

    # --- Beginning and end

    def connect(self):
        lines, priority = self.lines, EventPriority
        table = [
            ('highest', '*', 'print the first event (once)', lines, self.print_first, priority.HIGHEST),
            ('highest', 'package.*', 'stop what is ignored', lines, self.stop_ignored, priority.HIGHEST),
            ('highest', 'status.*', 'stop what is ignored', lines, self.stop_ignored, priority.HIGHEST),
            ('high', 'startup.**', 'end the batch of a run', lines, self.end_run, priority.HIGH),
            ('normal', 'package.*', 'count actions', lines, self.count_action, priority.NORMAL),
            ('normal', 'status.*', 'follow states', lines, self.follow_state, priority.NORMAL),
            ('normal', 'error', 'note malformed lines', lines, self.note_malformed, priority.NORMAL),
            ('low', 'package.*', 'collect the batch of a run', lines, self.collect_change, priority.LOW),
            ('filter', 'package.*', 'count libraries', self.libraries, self.count_library, priority.NORMAL),
            ('map', 'package.*', 'count days', self.days, self.count_day, priority.NORMAL),
            ('monitor', '*', 'watch everything', lines, self.watch, priority.MONITOR),
            ('monitor', '*', 'publish on the channel', lines, self.publish, priority.MONITOR),
            ('pool', 'package.*', 'study runs (in batches)', self.runs, self.study_run, priority.NORMAL),
        ]
        for place, pattern, purpose, emitter, function, level in table:
            station = Station(place, pattern, purpose, function)
            self.figures.stations.append(station)
            register = emitter.once if function == self.print_first else emitter.on
            register(pattern, level)(station)

    async def process(self, sources):
        """Emits every line. False: there was trouble."""
        began, good, progress = time.monotonic(), True, Progress()
        self.connect()
        await self.subscribe()
        for path, source in zip(sources.files, sources.names):
            try:
                for number, line in enumerate(read_lines(path), 1):
                    self.figures.lines += 1
                    if not line:
                        self.figures.empty += 1
                        continue
                    name, entry = parse(line, source, number)
                    await self.lines.emit(name, entry)
                    if self.figures.lines % 16384 == 0:
                        progress.show(self.figures.lines, source)
            except Trouble as trouble:
                complain(trouble)
                good = False
        progress.end()
        await self.end_run()
        await self.finish_feed()
        self.figures.elapsed = time.monotonic() - began
        return good


class Station:
    """A handler, and how often it was called."""

    def __init__(self, place, pattern, purpose, function):
        self.place, self.pattern, self.purpose, self.function, self.calls = place, pattern, purpose, function, 0

    def __call__(self, event):
        self.calls += 1
        return self.function(event)

    def __repr__(self):
        return self.function.__name__


class Progress:
    """On a terminal; a short input shows none."""

    def __init__(self):
        self.next = time.monotonic() + 0.5 if sys.stderr.isatty() else None

    def show(self, lines, source):
        if self.next is not None and time.monotonic() >= self.next:
            print(f'\r\33[K{grouped(lines)} lines, now in {source}', end='', file=sys.stderr, flush=True)
            self.next = time.monotonic() + 0.1

    def end(self):
        if self.next is not None:
            print('\r\33[K', end='', file=sys.stderr, flush=True)
            self.next = None


def summarize(figures):
    """False: the figures do not add up, or this was no such log."""
    good = report(figures)
    if figures.events == 0 and figures.malformed > 0:
        complain(f'not one line of {grouped(figures.lines)} is of a dpkg log')
        return False
    return good


def main(arguments):
    try:
        options, paths = getopt.gnu_getopt(arguments, 'i:h', ['ignore=', 'help'])
    except getopt.GetoptError as error:
        complain(f"{error}\nTry 'package_events --help'.")
        return 2
    if any(option in ('-h', '--help') for option, _ in options):
        print(USAGE, end='')
        return 0
    figures = Figures()
    program = Program([pattern for _, pattern in options] or ['man-db'], figures)
    try:
        sources = Sources(paths)
    except Trouble as trouble:
        complain(trouble)
        return 1
    print('Package events from', ', '.join(sources.names))
    try:
        good = asyncio.run(program.process(sources))
    except EventError as error:
        complain(error)
        good = False
    good &= summarize(figures)
    return 0 if good else 1


def run():
    """The exit status. What comes here of the system's errors is about writing: the others have been told."""
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
        return status
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())   # the interpreter will flush once more
        complain(f'cannot write: {error.strerror}')
        return 1


if __name__ == '__main__':
    sys.stdout.reconfigure(encoding='utf-8', errors='surrogateescape')
    sys.stderr.reconfigure(encoding='utf-8', errors='surrogateescape')
    sys.exit(run())
