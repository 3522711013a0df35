"""What the handlers of package_events.py count, and printing it: a bar on every line."""
import datetime
import locale
import os
from collections import Counter

from package_events_input import complain

SHOWN_DAYS, SAMPLES = 14, 5


class Figures:
    def __init__(self):
        self.lines = self.empty = self.malformed = 0       # what the reader saw
        self.events = self.ignored = 0                     # what the handlers saw
        self.names, self.actions, self.libraries, self.days = Counter(), Counter(), Counter(), Counter()
        self.states = {}                                   # the state in which each package was last seen
        self.first = self.last = ''
        self.samples = []                                  # malformed lines
        self.collected = 0                                 # changes put into a batch
        self.studied = self.runs = self.largest_run = 0    # and what came of the batches
        self.largest_when = ''
        self.new_upstream = self.new_revision = 0
        self.changed = Counter()
        self.hours, self.commands, self.minutes = Counter(), Counter(), Counter()   # from the channel
        self.latest, self.missed = [], 0
        self.published = self.reached = self.delivered = 0
        self.stations = []
        self.elapsed = 0


# --- Lines

def grouped(n):
    return f'{n:,}'


def screen_width():
    try:
        width = int(os.environ.get('COLUMNS', '0'))
    except ValueError:
        width = 0
    if width <= 0:
        try:
            width = os.get_terminal_size(1).columns
        except OSError:
            width = 80
    return min(max(width, 40), 160)


def bar(value, most, room):
    """value / most of the room, in eighths of a character where the locale is UTF-8."""
    blocks = locale.nl_langinfo(locale.CODESET) == 'UTF-8'
    eighths = int(value / most * (room * 8) + 0.5) if most else 0
    if value and not eighths:
        eighths = 1
    if not blocks:
        return '#' * ((eighths + 7) // 8)
    return '█' * (eighths // 8) + ' ▏▎▍▌▋▊▉'[eighths % 8].strip()


def plain(text):
    """What comes from the log, without what could trouble a terminal."""
    return ''.join(chr(byte) if 32 <= byte <= 126 else '?' for byte in os.fsencode(text))


def print_rows(rows, limit=None, note=lambda key: ''):
    """The first of (key, count) in their order, each with its note."""
    rows = list(rows)
    shown = rows[:limit]
    label = max((min(len(os.fsencode(key)), 32) for key, _ in shown), default=0)
    most = max((count for _, count in shown), default=0)
    for key, count in shown:
        used = label + 14 + len(note(key))
        room = max(screen_width() - used, 10)
        print(f'  {plain(key):{label}} {grouped(count):>9}  {note(key)}{bar(count, most, room)}')
    if len(rows) > len(shown):
        print(f'  and {grouped(len(rows) - len(shown))} more')
    if not rows:
        print('  none')


def most_first(table):
    return sorted(table.items(), key=lambda row: (-row[1], row[0]))


# --- The summary

def report_days(days):
    busiest = most_first(days)[:SHOWN_DAYS]
    print(f"\nChanges per day{', the 14 busiest' if len(days) > SHOWN_DAYS else ''}")
    print_rows(sorted(busiest), note=lambda day: datetime_of(day) + '  ')
    if len(days) > SHOWN_DAYS:
        print(f'  and {grouped(len(days) - SHOWN_DAYS)} quieter days')


def datetime_of(day):
    """The day of the week. A log may name a day that there is not, such as February 31: it is counted on."""
    year, month, number = map(int, day.split('-'))
    first = datetime.date(year or 400, month, 1)   # the calendar repeats every 400 years
    return 'Mon Tue Wed Thu Fri Sat Sun'.split()[(first.weekday() + number - 1) % 7]


def report_feed(figures):
    """What the subscribers of the channel made of it."""
    print('\nChanges by hour of the day')
    print_rows(sorted(figures.hours.items()))
    print('\nBusiest minutes')
    print_rows(most_first(figures.minutes), limit=5)
    print('\nCommands of dpkg')
    print_rows(most_first(figures.commands))
    print(f'\nLatest events ({grouped(figures.missed)} earlier ones were dropped for this slow subscriber)')
    for text in figures.latest:
        print('  ' + plain(text))


def report_failures(figures):
    unfinished = [(package, state) for package, state in figures.states.items()
                  if state not in ('installed', 'config-files', 'not-installed')]
    print('\nFailures')
    for sample in figures.samples:
        print('  ' + plain(sample))
    if figures.malformed > len(figures.samples):
        print(f'  and {grouped(figures.malformed - len(figures.samples))} more malformed lines')
    for package, state in unfinished[:SAMPLES]:
        print(f'  {plain(package)} was left {state}')
    if len(unfinished) > SAMPLES:
        print(f'  and {grouped(len(unfinished) - SAMPLES)} more packages')
    if not unfinished and not figures.malformed:
        print('  none')


def report_events(figures):
    largest = f', the largest at {figures.largest_when} with {grouped(figures.largest_run)}' if figures.runs else ''
    print(f'Period: {figures.first} to {figures.last}\n{grouped(figures.runs)} dpkg runs with changes{largest}')
    print('\nEvents by name')
    print_rows(most_first(figures.names))
    print('\nPackage actions (and of libraries)')
    print_rows(most_first(figures.actions), note=lambda key: f'{grouped(figures.libraries[key]):>9}  ')
    report_days(figures.days)
    print('\nMost changed packages')
    print_rows(most_first(figures.changed), limit=10)
    print(f'  upgrades: {grouped(figures.new_upstream)} to a new upstream version, '
          f'{grouped(figures.new_revision)} to a new Debian revision')
    report_feed(figures)


def report_handlers(stations):
    width = screen_width()
    room, most = width - 65 if width > 75 else 10, max(station.calls for station in stations)
    print('\nCalls of each handler, in the order in which they see an event')
    for s in stations:
        print(f'  {s.place:<8} {s.pattern:<10} {s.purpose:<28} {grouped(s.calls):>10}  {bar(s.calls, most, room)}')


def report_totals(figures):
    """Prints the totals; False: they do not add up."""
    events, seconds = figures.events + figures.malformed, max(figures.elapsed, 1e-9)
    calls, dropped = sum(station.calls for station in figures.stations), figures.reached - figures.delivered
    print(f'\nTotals\n  {grouped(figures.lines)} lines read = {grouped(figures.events)} events + '
          f'{grouped(figures.malformed)} malformed + {grouped(figures.empty)} empty; '
          f'{grouped(figures.ignored)} events ignored')
    print(f'  {grouped(figures.reached)} messages for subscribers = {grouped(figures.delivered)} delivered + '
          f'{grouped(dropped)} dropped')
    print(f'  {seconds:.3f} s: {grouped(int(events / seconds))} events and {grouped(int(calls / seconds))} '
          f'handler calls per second')
    pairs = {'lines read': (figures.lines, events + figures.empty),
             'events by name': (sum(figures.names.values()), events),
             'actions collected': (sum(figures.actions.values()), figures.collected),
             'changes per day': (sum(figures.days.values()), figures.collected),
             'changes studied': (figures.studied, figures.collected),
             'messages published': (figures.published, figures.events),
             'messages dropped': (dropped, figures.missed)}
    wrong = {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}
    for what, (a, b) in wrong.items():
        complain(f'the counts do not add up: {what}: {grouped(a)}, not {grouped(b)}')
    return not wrong


def report(figures):
    if figures.events:
        report_events(figures)
    if figures.events or figures.malformed:
        report_failures(figures)
        report_handlers(figures.stations)
    return report_totals(figures)
