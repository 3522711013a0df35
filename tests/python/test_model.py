"""Random histories (registrations, emissions, removals, batches, cancellations, handlers that do any of these) on mtaio
and on a model of a page of plain Python, which say the same."""
import asyncio
import os
import types
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings, strategies as st

from mtaio.events import Event, EventEmitter, EventPriority
from mtaio.exceptions import EventEmitError, EventHandlerError

ORDER = ['HIGHEST', 'HIGH', 'NORMAL', 'LOW', 'LOWEST', 'MONITOR']
EXAMPLES = 3000 if os.environ.get('MTAIO_STRESS') else 250
ROOT, EVEN, TENFOLD = range(3)   # the emitter, a filter of it, a map of that
DEPTH = 3


@types.coroutine
def suspend():
    yield


# --- What a history is made of

@dataclass
class Handler:
    where: int
    pattern: str
    priority: str
    once: bool
    actions: list
    number: int = field(default=-1, compare=False)


NAMES = st.sampled_from(['a', 'b', 'a.b', 'a.b.c', 'error'])
PATTERNS = st.sampled_from(['a', 'b', 'a.b', '*', '**', 'a.*', '**.c', 'a.**', 'error'])
NUMBERS = st.integers(0, 12)


def handlers(actions):
    return st.builds(Handler, st.sampled_from([ROOT, ROOT, ROOT, EVEN, TENFOLD]), PATTERNS, st.sampled_from(ORDER),
                     st.booleans(), actions)


SIMPLE = st.one_of(st.just(('suspend',)), st.just(('stop',)), st.just(('fail',)), st.tuples(st.just('remove'), NUMBERS),
                   st.tuples(st.just('remove all'), PATTERNS))
ADDED = handlers(st.lists(SIMPLE, max_size=2))
ACTIONS = st.lists(st.one_of(SIMPLE, st.tuples(st.just('add'), ADDED), st.tuples(st.just('emit'), NAMES, NUMBERS)),
                   max_size=3)
STEPS = st.lists(st.one_of(
    st.tuples(st.just('add'), handlers(ACTIONS)), st.tuples(st.just('add'), handlers(ACTIONS)),
    st.tuples(st.just('emit'), NAMES, NUMBERS), st.tuples(st.just('emit'), NAMES, NUMBERS),
    st.tuples(st.just('remove'), NUMBERS), st.tuples(st.just('remove all'), PATTERNS),
    st.tuples(st.just('cancel'), NAMES, NUMBERS, st.integers(0, 3)),
    st.tuples(st.just('batch'), st.lists(st.tuples(NAMES, NUMBERS), max_size=5))), max_size=12)


def data_of(event):
    return [(e.name, e.data) for e in event.events]


class Failed(Exception):
    pass


class World:
    """What mtaio and the model have in common: the log of all that was called, and what handlers do."""

    def __init__(self):
        self.log, self.handlers, self.depth = [], [], 0

    async def call(self, handler, event):
        self.log.append((handler.number, event.name, data_of(event)))
        for action, *arguments in handler.actions:
            if action == 'suspend':
                await suspend()
            elif action == 'stop':
                event.propagate = False
            elif action == 'fail':
                raise Failed
            elif action == 'emit':
                if self.depth < DEPTH:
                    self.depth += 1
                    try:
                        await self.emit(*arguments)
                    finally:
                        self.depth -= 1
            else:
                self.do(action, *arguments)

    def do(self, action, *arguments):
        if action == 'add':
            self.add(arguments[0])
        elif action == 'remove':
            if arguments[0] < len(self.handlers):
                self.log.append(('removed', self.remove(arguments[0])))
        elif action == 'remove all':
            self.log.append(('removed', self.remove_all(arguments[0])))

    def new(self, handler):
        handler = Handler(handler.where, handler.pattern, handler.priority, handler.once, handler.actions,
                          len(self.handlers))
        self.handlers.append(handler)
        return handler

    def step(self, action, *arguments):
        try:
            if action == 'emit':
                self.drive(self.emit(*arguments))
            elif action == 'cancel':
                self.drive(self.emit(*arguments[:2]), cancel_at=arguments[2])
            elif action == 'batch':
                self.drive(self.batch(arguments[0]))
            else:
                self.do(action, *arguments)
        except self.errors as error:
            self.log.append(self.describe(error))
        except asyncio.CancelledError:
            self.log.append('cancelled')
        self.log.append(self.counts())

    def drive(self, awaitable, cancel_at=None):
        count = 0
        try:
            while True:
                if count == cancel_at:
                    awaitable.throw(asyncio.CancelledError()) if count else awaitable.close()
                    if not count:
                        return
                else:
                    awaitable.send(None)
                count += 1
        except StopIteration:
            pass
        finally:
            self.depth = 0


# --- mtaio

class Real(World):
    errors = (EventHandlerError, EventEmitError)

    def __init__(self):
        super().__init__()
        root = EventEmitter()
        even = root.filter(lambda event: event.data % 2 == 0)
        self.emitters = [root, even, even.map(lambda event: Event(event.name, event.data * 10))]
        self.functions = []

    def add(self, handler):
        handler = self.new(handler)
        if any(action[0] in ('suspend', 'emit') for action in handler.actions):
            async def function(event):
                await self.call(handler, event)
        else:
            def function(event):
                try:
                    self.call(handler, event).send(None)
                except StopIteration:
                    pass
        emitter = self.emitters[handler.where]
        (emitter.once if handler.once else emitter.on)(handler.pattern, EventPriority[handler.priority])(function)
        self.functions.append(function)

    def remove(self, number):
        handler = self.handlers[number]
        return self.emitters[handler.where].remove_listener(handler.pattern, self.functions[number])

    def remove_all(self, pattern):
        return self.emitters[ROOT].remove_all_listeners(pattern)

    async def emit(self, name, data):
        await self.emitters[ROOT].emit(name, data)

    async def batch(self, events):
        async with self.emitters[ROOT].batch_operations():
            for name, data in events:
                await self.emitters[ROOT].emit(name, data)

    def counts(self):
        return [e.listener_count() for e in self.emitters]

    def describe(self, error):
        return len(error.errors) if isinstance(error, EventHandlerError) else 'not carried out'


# --- The model

class ModelFailed(Exception):
    def __init__(self, count):
        self.count = count


class Unhandled(Exception):
    pass


@dataclass
class ModelEvent:
    recorded: list           # of (name, data)
    batch: bool = False
    propagate: bool = True

    @property
    def name(self):
        names = {name for name, _ in self.recorded}
        return names.pop() if len(names) == 1 else '*'

    @property
    def events(self):
        return [types.SimpleNamespace(name=name, data=data) for name, data in self.recorded]


def matches(pattern, name):
    def match(p, n):
        if not p:
            return not n
        if p[0] == '**':
            return match(p[1:], n) or bool(n) and match(p, n[1:])
        return bool(n) and p[0] in ('*', n[0]) and match(p[1:], n[1:])
    return pattern == '*' or match(pattern.split('.'), name.split('.'))


class Model(World):
    errors = (ModelFailed, Unhandled)

    def __init__(self):
        super().__init__()
        self.registered = []   # numbers, in order

    def add(self, handler):
        self.registered.append(self.new(handler).number)

    def remove(self, number):
        found = number in self.registered
        if found:
            self.registered.remove(number)
        return int(found)

    def remove_all(self, pattern):
        gone = [n for n in self.registered if self.handlers[n].where == ROOT and self.handlers[n].pattern == pattern]
        self.registered = [n for n in self.registered if n not in gone]
        return len(gone)

    def counts(self):
        return [sum(self.handlers[n].where == where for n in self.registered) for where in range(3)]

    def describe(self, error):
        return error.count if isinstance(error, ModelFailed) else 'not carried out'

    async def emit(self, name, data):
        await self.carry_out(ModelEvent([(name, data)]))

    async def batch(self, events):
        if events:
            await self.carry_out(ModelEvent(events, batch=True))

    async def carry_out(self, event):
        snapshot = [self.handlers[n] for n in self.registered]
        walk = types.SimpleNamespace(failures=0, handled=set())   # indices of events
        original = [(name, index) for index, (name, _) in enumerate(event.recorded)]
        await self.level(ROOT, event, snapshot, walk, original)
        # Errors do not vanish: where nobody handles one, the emission says so; a batch, if it has nothing else to say.
        unhandled = any(name == 'error' and index not in walk.handled for index, (name, _) in enumerate(event.recorded))
        if walk.failures and (event.batch or not unhandled):
            raise ModelFailed(walk.failures)
        if unhandled:
            raise Unhandled

    def behind(self, where, event, snapshot, original):
        """Whether there is anybody left to call there or further on."""
        return any(h.where >= where and h.number in self.registered and matches(h.pattern, name)
                   for h in snapshot for name, _ in original)

    async def level(self, where, event, snapshot, walk, original):
        """original: the source's names, by which handlers are chosen, and which of its events they are."""
        for priority in ORDER:
            if priority == 'MONITOR' and event.propagate and where < TENFOLD and \
                    self.behind(where + 1, event, snapshot, original):
                await self.descend(where, event, snapshot, walk, original)
            for handler in snapshot:
                if handler.where == where and handler.priority == priority and handler.number in self.registered and \
                        (event.propagate or priority == 'MONITOR'):
                    await self.offer(handler, event, walk, original)

    async def descend(self, where, event, snapshot, walk, original):
        if where == ROOT:
            passed = [i for i, (_, data) in enumerate(event.recorded) if data % 2 == 0 and
                      self.behind(EVEN, event, snapshot, [original[i]])]
            if not passed:
                return
            inner = ModelEvent([event.recorded[i] for i in passed], event.batch)
            await self.level(EVEN, inner, snapshot, walk, [original[i] for i in passed])
            event.propagate = inner.propagate
        else:
            passed = [i for i in range(len(event.recorded)) if self.behind(TENFOLD, event, snapshot, [original[i]])]
            inner = ModelEvent([(event.recorded[i][0], event.recorded[i][1] * 10) for i in passed], event.batch)
            await self.level(TENFOLD, inner, snapshot, walk, [original[i] for i in passed])

    async def offer(self, handler, event, walk, original):
        mine = [recorded for recorded, (name, _) in zip(event.recorded, original) if matches(handler.pattern, name)]
        if not mine:
            return
        if handler.once:
            self.registered.remove(handler.number)
        if handler.priority != 'MONITOR':
            walk.handled.update(index for name, index in original if matches(handler.pattern, name))
        shown = ModelEvent(mine, event.batch)
        shown.propagate = event.propagate
        try:
            await self.call(handler, shown)
        except Exception:
            walk.failures += 1
        if handler.priority != 'MONITOR':
            event.propagate = shown.propagate


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_random_histories(steps):
    real, model = Real(), Model()
    for step in steps:
        real.step(*step)
        model.step(*step)
        assert real.log == model.log, step
    assert real.log == model.log
