"""An emitter and channels in plain Python, with the same meaning as mtaio's: what the features are measured against."""
import asyncio
import contextvars
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Dict, List


@dataclass(slots=True)
class Event:
    name: str
    data: Any
    propagate: bool = True
    metadata: Dict[str, Any] = field(default_factory=dict)
    recorded: List['Event'] = None

    @property
    def events(self):
        return self.recorded if self.recorded is not None else [self]


@dataclass(slots=True, eq=False)
class Listener:
    pattern: str
    handler: Any
    priority: int
    once: bool
    active: bool = True
    segments: List[str] = None   # of a pattern with wildcards

    def __post_init__(self):
        if '*' in self.pattern:
            self.segments = self.pattern.split('.')

    def matches(self, name):
        return self.pattern == name or self.segments is not None and (
            self.pattern == '*' or match_segments(self.segments, name.split('.')))


def match_segments(pattern, name):
    if not pattern:
        return not name
    if pattern[0] == '**':
        return match_segments(pattern[1:], name) or bool(name) and match_segments(pattern, name[1:])
    return bool(name) and pattern[0] in ('*', name[0]) and match_segments(pattern[1:], name[1:])


class Failed(Exception):
    pass


class PlainEmitter:
    """By priority, then registration; a snapshot for each emission; failures collected; derived emitters; batches."""

    def __init__(self):
        self.listeners, self.derived = [], []
        self.batch = contextvars.ContextVar('batch', default=None)

    def on(self, name, priority=3, once=False):
        def register(handler):
            self.add(Listener(name, handler, priority, once))
            return handler
        return register

    def once(self, name, priority=3):
        return self.on(name, priority, once=True)

    def add(self, listener):
        self.listeners.append(listener)
        self.listeners.sort(key=lambda l: -l.priority)

    def remove(self, listener):
        if listener.active:
            listener.active = False
            self.listeners.remove(listener)

    def filter(self, predicate):
        child = PlainEmitter()
        self.derived.append((predicate, None, child))
        return child

    def map(self, transform):
        child = PlainEmitter()
        self.derived.append((None, transform, child))
        return child

    def is_listened(self, name):
        return any(listener.matches(name) for listener in self.listeners) or \
            any(child.is_listened(name) for _, _, child in self.derived)

    async def emit(self, name, data, metadata=None):
        event = Event(name, data, True, {} if metadata is None else metadata)
        batch = self.batch.get()
        if batch is not None:
            batch.append(event)
            return
        failures = []
        await self.walk(event, failures)
        if failures:
            raise Failed(failures) from failures[0][1]

    async def walk(self, event, failures):
        for listener in list(self.listeners):
            shown = self.shown(listener, event)
            if not listener.active or shown is None:
                continue
            if listener.once:
                self.remove(listener)
            try:
                result = listener.handler(shown)
                if result is not None and hasattr(result, '__await__'):
                    await result
            except Exception as error:
                failures.append((listener.handler, error))
            if not shown.propagate:
                return
        for predicate, transform, child in self.derived:
            if not child.is_listened(event.name):
                continue
            try:
                passed = event if transform is None and predicate(event) else transform and transform(event)
            except Exception as error:
                failures.append((predicate or transform, error))
                continue
            if passed:
                await child.walk(passed, failures)

    def shown(self, listener, event):
        """What the listener gets to see of it."""
        if event.recorded is None:
            return event if listener.matches(event.name) else None
        mine = [e for e in event.recorded if listener.matches(e.name)]
        if not mine:
            return None
        names = {e.name for e in mine}
        return Event(names.pop() if len(names) == 1 else '*', [e.data for e in mine], recorded=mine)

    async def wait_for(self, name):
        future = asyncio.get_running_loop().create_future()
        listener = Listener(name, lambda event: future.done() or future.set_result(event), 3, True)
        self.add(listener)
        try:
            return await future
        finally:
            self.remove(listener)

    def batch_operations(self):
        return PlainBatch(self)


class PlainBatch:
    def __init__(self, emitter):
        self.emitter = emitter

    async def __aenter__(self):
        self.events = []
        self.token = self.emitter.batch.set(self.events)

    async def __aexit__(self, *error):
        self.emitter.batch.reset(self.token)
        if self.events:
            failures = []
            await self.emitter.walk(Event('*', [e.data for e in self.events], recorded=self.events), failures)
            if failures:
                raise Failed(failures) from failures[0][1]


# --- Channels by hand

@dataclass(slots=True)
class Message:
    data: Any
    topic: str = None
    metadata: Dict[str, Any] = field(default_factory=dict)


class QueueFanOut:
    """One asyncio.Queue for each subscriber."""

    def __init__(self, count):
        self.queues = [asyncio.Queue() for _ in range(count)]

    async def publish(self, data):
        message = Message(data)
        for queue in self.queues:
            await queue.put(message)


class CoalescedQueue:
    """From a thread to a loop: a deque, and one call_soon_threadsafe for all that was put before it ran."""

    def __init__(self, loop):
        self.loop, self.items, self.waiter, self.told = loop, deque(), None, False

    def put(self, item):
        self.items.append(item)
        if not self.told:
            self.told = True
            self.loop.call_soon_threadsafe(self.wake)

    def wake(self):
        self.told = False
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def get(self):
        while not self.items:
            self.waiter = self.loop.create_future()
            await self.waiter
        return self.items.popleft()
