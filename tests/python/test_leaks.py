"""Nothing leaks: many rounds of each operation leave memory as it was, and cycles through the core are collected."""
import asyncio
import gc
import os
import sys
import tracemalloc
import types
import weakref

import pytest

from mtaio.events import Channel, Event, EventEmitter, EventPriority
from mtaio.exceptions import EventEmitError, EventHandlerError

# 1,000,000 rounds of each where MTAIO_STRESS is set.
ROUNDS = 1000000 if os.environ.get('MTAIO_STRESS') else 3000


@types.coroutine
def suspend():
    yield


def drive(awaitable):
    try:
        while True:
            awaitable.send(None)
    except StopIteration as stop:
        return stop.value


def nothing(event):
    pass


async def nothing_async(event):
    pass


async def nothing_slow(event):
    await suspend()


def failing(event):
    raise ValueError


class Owner:
    def method(self, event):
        pass


# --- Operations. Each is given an emitter of its own, set up by the first call.

def emit_plain(em):
    drive(em.emit('a', object()))


def emit_by_made_names(em):
    drive(em.emit('a' + str(id(em) % 7), 1))


def emit_with_metadata(em):
    drive(em.emit('a', 1, {'m': object()}))


def add_and_remove(em):
    em.on('a')(nothing)
    em.on('b.*')(nothing_async)
    em.off('a', nothing)
    em.off('b.*', nothing_async)


def once(em):
    em.once('a')(nothing)
    drive(em.emit('a', 1))


def listeners(em):
    with em.add_listener('a', nothing):
        em.listeners('a'), em.event_names()


def weak(em):
    em.on('weak', weak=True)(Owner().method)


def failures(em):
    em.once('a')(failing)
    em.once('a')(failing)
    try:
        drive(em.emit('a', 1))
    except EventHandlerError as error:
        str(error)


def refused(em):
    try:
        drive(em.emit('a.*', 1))
    except EventEmitError:
        pass


def suspended(em):
    em.once('a')(nothing_slow)
    drive(em.emit('a', 1))


def thrown_away(em):
    em.once('a')(nothing_slow)
    pending = em.emit('a', 1)
    pending.send(None)
    pending.close()
    em.emit('a', 1).close()


def cancelled(em):
    em.once('a')(nothing_slow)
    pending = em.emit('a', 1)
    pending.send(None)
    try:
        pending.throw(asyncio.CancelledError())
    except asyncio.CancelledError:
        pass


def derived(em):
    chain = em.filter(lambda event: True).map(lambda event: Event(event.name, 2))
    handler = chain.on('a')(lambda event: em)
    drive(em.emit('a', 1))
    chain.off('a', handler)


def batches(em):
    async def main():
        async with em.batch_operations():
            await em.emit('a', object())
            await em.emit('b', object())
    drive(main())


def emitters(em):
    other = EventEmitter()
    other.on('a')(lambda event: other)
    drive(other.emit('a', 1))


def events(em):
    event = Event('a', [1])
    event.metadata, event.events, repr(event), event == event


def channels(em):
    async def main():
        channel = Channel('c')
        subscriber = await channel.subscribe(['a.*'])
        await channel.publish(object(), topic='a.b', metadata={'m': 1})
        return subscriber.receive_nowait()
    drive(main())


def dropped_messages(em):
    async def main():
        channel = Channel('c')
        subscriber = await channel.subscribe(buffer_size=1, overflow='drop_oldest')
        for _ in range(3):
            await channel.publish(object())
        del subscriber
    drive(main())


OPERATIONS = [value for value in list(globals().values())
              if isinstance(value, types.FunctionType) and value.__code__.co_varnames[:1] == ('em',)]


def blocks():
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize('operation', OPERATIONS, ids=lambda f: f.__name__)
def test_rounds(operation):
    em = EventEmitter()
    em.on('a')(nothing)
    em.on('a')(nothing_async)
    em.on('*', EventPriority.MONITOR)(nothing)
    for _ in range(300):
        operation(em)
    least = None
    for _ in range(3):   # caches may fill up in one of them
        before = blocks()
        for _ in range(ROUNDS):
            operation(em)
        grown = blocks() - before
        least = grown if least is None else min(least, grown)
        if least < ROUNDS // 50:
            break
    assert least < ROUNDS // 50, f'{least} blocks more after {ROUNDS} rounds'


def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


if 'asan' not in os.environ.get('LD_PRELOAD', ''):   # AddressSanitizer keeps what was freed
    @pytest.mark.parametrize('operation', OPERATIONS, ids=lambda f: f.__name__)
    def test_the_process_does_not_grow(operation):
        """What the core allocates is not Python's, but the process's."""
        em = EventEmitter()
        em.on('a')(nothing)
        for _ in range(ROUNDS):
            operation(em)
        gc.collect()
        least = None
        for _ in range(3):
            before = resident()
            for _ in range(ROUNDS):
                operation(em)
            gc.collect()
            grown = resident() - before
            least = grown if least is None else min(least, grown)
            if least < 200000:
                break
        assert least < 200000 + ROUNDS // 10, f'{least} bytes more after {ROUNDS} rounds'


def test_reference_counts():
    """What goes through an emission comes out with as many references as before."""
    em, data, metadata, name = EventEmitter(), object(), {'m': 1}, 'a.' + 'b'.strip()
    em.on('a.b')(nothing)
    em.on('a.b')(nothing_slow)
    drive(em.emit(name, data, metadata))

    def counts():
        return [sys.getrefcount(x) for x in (data, metadata, name, nothing, nothing_slow, None, True, False)][:5]
    before = counts()
    for _ in range(1000):
        drive(em.emit(name, data, metadata))
    assert counts() == before


def test_tracemalloc_finds_nothing():
    em = EventEmitter()
    em.on('a')(nothing_slow)
    em.filter(lambda event: True).on('a')(nothing)

    def rounds():
        for _ in range(200):
            drive(em.emit('a', [1], {'m': [2]}))
            suspended(em), failures(em), batches(em), channels(em), derived(em)
        gc.collect()

    def grown():
        """The files whose memory has grown with the rounds."""
        before = tracemalloc.take_snapshot()
        rounds()
        return {stat.traceback[0].filename for stat in tracemalloc.take_snapshot().compare_to(before, 'filename')
                if stat.count_diff >= 200 and 'tracemalloc' not in str(stat.traceback)}
    rounds()
    tracemalloc.start()
    try:
        rounds()
        assert grown() & grown() & grown() == set()   # caches may fill up in one of them
    finally:
        tracemalloc.stop()


# --- Cycles: hazard 53

class Node:
    """Something that weak references can watch."""

    def method(self, event):
        pass


def cycle_handler(em, node):
    em.on('a')(lambda event: (em, node))


def cycle_method(em, node):
    node.em = em
    em.on('a')(node.method)
    em.once('b')(node.method)


def cycle_listener(em, node):
    node.em, node.listener = em, em.add_listener('a', node.method)


def cycle_filter(em, node):
    child = em.filter(lambda event: node)
    node.child, node.em = child, em
    child.on('a')(node.method)


def cycle_map(em, node):
    child = em.map(lambda event: (em, node)).filter(lambda event: True)
    child.on('a')(lambda event: child)
    node.child = child


def cycle_pipe(em, node):
    other = EventEmitter()
    em.pipe(other, 'x')
    other.pipe(em, 'y')
    other.on('x')(lambda event: node)
    node.em = em


def cycle_suspended(em, node):
    @em.on('a')
    async def handler(event):
        node.em = em
        await suspend()
    pending = em.emit('a', node)
    pending.send(None)
    node.pending = pending


def cycle_not_started(em, node):
    node.pending = em.emit('a', node)
    node.pending.close()
    node.em = em


def cycle_batch(em, node):
    node.batch = em.batch_operations()
    node.em = em
    em.on('a')(node.method)


def cycle_hook(em, node):
    node.em = em
    em.add_hook('before_emit', node.method)


def cycle_error(em, node):
    em.on('a')(lambda event: [][0])
    try:
        drive(em.emit('a', node))
    except EventHandlerError as error:
        node.error, node.em = error, em


def cycle_event(em, node):
    em.on('a')(lambda event: setattr(node, 'event', event))
    drive(em.emit('a', node, {'node': node, 'em': em}))


def cycle_message(em, node):
    async def main():
        channel = Channel('c')
        subscriber = await channel.subscribe()
        node.subscriber, node.channel = subscriber, channel
        await channel.publish(node)
    drive(main())


def cycle_received(em, node):
    async def main():
        channel = Channel('c')
        subscriber = await channel.subscribe()
        await channel.publish(node, metadata={'channel': channel})
        node.message = subscriber.receive_nowait()
        node.subscriber = subscriber
    drive(main())


CYCLES = [value for name, value in list(globals().items()) if name.startswith('cycle_')]


@pytest.mark.parametrize('make', CYCLES, ids=lambda f: f.__name__)
def test_cycles_are_collected(make, collected):
    em, node = EventEmitter(), Node()
    make(em, node)
    refs = weakref.ref(em), weakref.ref(node)
    del em, node
    collected()
    assert [ref() for ref in refs] == [None, None]


@pytest.mark.parametrize('make', CYCLES, ids=lambda f: f.__name__)
def test_what_is_used_is_not_collected(make, collected):
    """The collector must not take what only the core refers to."""
    em, node = EventEmitter(), Node()
    make(em, node)
    seen = []
    em.on('still there')(lambda event: seen.append(event.data))
    child = em.filter(lambda event: True)
    child.on('still there')(lambda event: seen.append(event.data))
    del child
    collected()
    drive(em.emit('still there', 1))
    assert seen == [1, 1]


def test_unbroken_by_many_generations():
    em = EventEmitter()
    em.on('a')(lambda event, em=em: em)
    for _ in range(5):
        gc.collect(0), gc.collect(1), gc.collect(2)
    drive(em.emit('a', 1))
    assert em.listener_count('a') == 1
    assert gc.is_tracked(em)


def test_get_referrers_and_referents():
    """What the collector is told is true: it counts references, and must not count more than there are."""
    em = EventEmitter()
    for _ in range(10):
        em.on('a')(nothing)
        em.filter(nothing).on('b')(nothing)
    before = sys.getrefcount(nothing)
    gc.get_referents(em)
    for _ in range(3):
        gc.collect()
    assert sys.getrefcount(nothing) == before
