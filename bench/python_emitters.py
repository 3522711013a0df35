"""Emitting in Python: mtaio, calling the handlers by hand, and other packages."""
import asyncio
import gc
import os
from dataclasses import dataclass, field
from typing import Any, Dict

from mtaio.events import Event, EventEmitter

from python_bench import timed
import python_plain
from python_plain import PlainEmitter

try:
    import aiosignal
except ImportError:
    aiosignal = None
try:
    import pyee
except ImportError:
    pyee = None
try:
    import blinker
except ImportError:
    blinker = None


@dataclass(slots=True)
class HandEvent:
    """What one writes who calls handlers by hand."""
    name: str
    data: Any
    propagate: bool = True
    metadata: Dict[str, Any] = field(default_factory=dict)


async def handle_async(event):
    pass


def handle_plain(event):
    pass


async def handle_keywords(**event):
    pass


async def handle_suspending(event):
    await asyncio.sleep(0)


def fill(emitter, handler, count):
    for _ in range(count):
        emitter.on('event')(handler)
    return emitter


# --- Emitting to n handlers

def by_hand_async(handlers):
    async def run(times):
        for _ in range(times):
            event = HandEvent('event', 1)
            for handler in handlers:
                await handler(event)
    return run


def by_hand_plain(handlers):
    async def run(times):
        for _ in range(times):
            event = HandEvent('event', 1)
            for handler in handlers:
                handler(event)
    return run


def awaited(emitter, name='event'):
    async def run(times):
        emit = emitter.emit
        for _ in range(times):
            await emit(name, 1)
    return run


def with_aiosignal(count):
    signal = aiosignal.Signal(None)
    signal.extend([handle_keywords] * count)
    signal.freeze()

    async def run(times):
        for _ in range(times):
            await signal.send(name='event', data=1)
    return run


def with_pyee(count):
    emitter = pyee.EventEmitter()
    for _ in range(count):   # one function counts once there
        emitter.on('event', lambda event: None)

    def run(times):
        for _ in range(times):
            emitter.emit('event', HandEvent('event', 1))
    return timed(run)


def with_blinker(count):
    signal, handlers = blinker.Signal(), [lambda sender, event: None for _ in range(count)]
    for handler in handlers:
        signal.connect(handler)

    def run(times, handlers=handlers):
        for _ in range(times):
            signal.send(None, event=HandEvent('event', 1))
    return timed(run)


def emissions(bench):
    for count in 1, 10, 100:
        name = f'python async/{count}'
        if bench.wanted(name):
            bench.case(name, [('by hand', by_hand_async([handle_async] * count)),
                              ('mtaio', awaited(fill(EventEmitter(), handle_async, count))),
                              ('plain Python', awaited(fill(PlainEmitter(), handle_async, count))),
                              *([('aiosignal', with_aiosignal(count))] if aiosignal else [])])
    for count in 1, 10, 100:
        name = f'python plain/{count}'
        if bench.wanted(name):
            bench.case(name, [('by hand', by_hand_plain([handle_plain] * count)),
                              ('mtaio', awaited(fill(EventEmitter(), handle_plain, count))),
                              *([('pyee', with_pyee(count))] if pyee else []),
                              *([('blinker', with_blinker(count))] if blinker else [])])
    if bench.wanted('python none'):
        listened = EventEmitter()
        listened.on('other')(handle_plain)
        bench.case('python none', [('mtaio', awaited(EventEmitter())), ('mtaio, others listened to', awaited(listened)),
                                   ('plain Python', awaited(PlainEmitter()))])
    if bench.wanted('python suspending'):
        bench.case('python suspending', [('by hand', by_hand_async([handle_suspending])),
                                         ('mtaio', awaited(fill(EventEmitter(), handle_suspending, 1)))])


# --- Features, each beside the same meaning in plain Python

def waiting(emitter):
    """One who waits again and again, resumed by hand: a round of the loop for each event would cost several times as much,
    whoever waits."""
    async def wait():
        while True:
            await emitter.wait_for('event')

    async def run(times):
        waiter = wait()
        waiter.send(None)
        for _ in range(times):
            await emitter.emit('event', 1)
            waiter.send(None)
        waiter.close()
    return run


def once(emitter):
    async def run(times):
        for _ in range(times):
            emitter.once('event')(handle_plain)
            await emitter.emit('event', 1)
    return run


def filtered(emitter):
    for limit in range(10):
        emitter.filter(lambda event, limit=limit: event.data > limit).on('event')(handle_plain)
    return awaited(emitter)


def mapped(emitter):
    event_type = Event if isinstance(emitter, EventEmitter) else python_plain.Event
    for _ in range(10):
        emitter.map(lambda event: event_type(event.name, 2)).on('event')(handle_plain)
    return awaited(emitter)


def everything(emitter):
    """One of many patterns, and a name among many."""
    for i in range(20):
        emitter.on(f'user{i}.*')(handle_plain)
    emitter.on('*')(handle_plain)
    return awaited(emitter, 'user7.login')


def batched(emitter):
    emitter.on('event')(handle_plain)
    emitter.on('*')(handle_plain)

    async def run(times):
        for _ in range(times):
            async with emitter.batch_operations():
                for _ in range(100):
                    await emitter.emit('event', 1)
    return run


def features(bench):
    for name, make in {
            'wait_for': waiting, 'once': once, 'filter': filtered, 'map': mapped, 'pattern': everything,
            'batch': batched}.items():
        if bench.wanted(f'python {name}'):
            bench.case(f'python {name}', [('plain Python', make(PlainEmitter())), ('mtaio', make(EventEmitter()))])


# --- Memory

def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def memory(bench):
    if not bench.wanted('python memory'):
        return
    count = 200000
    for case, names in (('one name', ['event'] * count), ('many names', [f'event.{i}' for i in range(count)])):
        emitter, handlers = EventEmitter(), [handle_plain] * count
        gc.collect()
        before = resident()
        for name, handler in zip(names, handlers):
            emitter.on(name)(handler)
        bench.value(f'python memory/{case}', 'mtaio', (resident() - before) / count, 'B')
        del emitter
        gc.collect()


def run(bench):
    emissions(bench)
    features(bench)
    memory(bench)
