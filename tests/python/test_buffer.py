"""Buffers: gathering, flush, and that the garbage collector sees what is gathered."""
import asyncio
import gc
import weakref

import pytest

from mtaio.events import Event, EventEmitter
from mtaio.exceptions import EventEmitError, EventError, EventHandlerError


class Node:
    pass


def gathering(emitter, size=10, seen=None):
    """A buffer whose batches are noted as lists of data."""
    buffered = emitter.buffer(size)
    if seen is not None:
        buffered.on('**', lambda event: seen.append([e.data for e in event.events]))
    return buffered


# --- flush

async def test_flush_passes_on_what_is_there(emitter):
    """As one batch, once; an empty buffer has nothing to pass on."""
    seen = []
    buffered = gathering(emitter, 3, seen)
    await buffered.flush()
    for n in 1, 2:
        await emitter.emit('n', n)
    await buffered.flush()
    await buffered.flush()
    assert seen == [[1, 2]]
    for n in 3, 4, 5:
        await emitter.emit('n', n)
    assert seen[1:] == [[3, 4, 5]]


async def test_flush_waits_for_handlers_and_lets_others_run(emitter):
    buffered, log, gate = emitter.buffer(10), [], asyncio.Event()

    @buffered.on('n')
    async def slow(event):
        log.append('begins')
        await gate.wait()
        log.append('ends')

    async def beside():
        log.append('beside')
        gate.set()
    await emitter.emit('n', 1)
    task = asyncio.create_task(beside())
    await buffered.flush()
    assert log == ['begins', 'beside', 'ends']
    await task


async def test_flush_runs_in_the_callers_task(emitter):
    buffered, tasks = emitter.buffer(10), []

    @buffered.on('n')
    async def handler(event):
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
    await emitter.emit('n', 1)
    await buffered.flush()
    assert tasks == [asyncio.current_task()]


async def test_flush_raises_what_handlers_raise(emitter):
    """error.event is what the first handler that failed was given."""
    buffered, seen = emitter.buffer(10), []

    @buffered.on('a')
    def failing(event):
        raise ValueError('no')

    buffered.on('*', lambda event: seen.append(event.data))
    for n, name in enumerate('aba'):
        await emitter.emit(name, n)
    with pytest.raises(EventHandlerError) as caught:
        await buffered.flush()
    assert caught.value.errors == [(failing, caught.value.__cause__)] and str(caught.value.__cause__) == 'no'
    assert caught.value.event.data == [0, 2] and seen == [[0, 1, 2]]
    await buffered.flush()
    assert len(seen) == 1


async def test_a_cancelled_flush_cancels_the_handler(emitter):
    buffered, log = emitter.buffer(10), []

    @buffered.on('n')
    async def handler(event):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            log.append('cancelled')
            raise
    buffered.on('n', lambda event: log.append('not called'))
    await emitter.emit('n', 1)
    task = asyncio.create_task(buffered.flush())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ['cancelled']


async def test_flush_of_a_closed_buffer(emitter):
    seen = []
    buffered = gathering(emitter, 3, seen)
    await emitter.emit('n', 1)
    buffered.close()
    with pytest.raises(EventEmitError, match='closed'):
        await buffered.flush()
    assert seen == []


async def test_closing_drops_what_is_gathered(emitter, collected):
    buffered, node = gathering(emitter, 3, []), Node()
    ref = weakref.ref(node)
    await emitter.emit('n', node)
    del node
    collected()
    assert ref() is not None
    buffered.close()
    collected()
    assert ref() is None


def test_only_buffers_are_flushed(emitter):
    for other in emitter, emitter.filter(lambda event: True), emitter.map(lambda event: event):
        with pytest.raises(EventError, match='no buffer'):
            other.flush()


def test_a_flush_that_nobody_awaits(emitter):
    buffered = emitter.buffer(2)
    with pytest.warns(RuntimeWarning, match="'EventEmitter.flush' was never awaited"):
        buffered.flush()
    flush = buffered.flush()
    assert 'not begun' in repr(flush)
    flush.close()
    assert 'over' in repr(flush)


# --- What the garbage collector sees

def cycle_through_data(emitter, node):
    node.emitter, node.buffered = emitter, gathering(emitter, 5, [])
    return 'n', node, None


def cycle_through_metadata(emitter, node):
    node.emitter, node.buffered = emitter, gathering(emitter, 5, [])
    return 'n', 1, {'node': node}


def cycle_through_the_buffer_alone(emitter, node):
    node.buffered = gathering(emitter, 5, [])
    return 'n', node, None


def cycle_behind_a_map(emitter, node):
    mapped = emitter.map(lambda event: Event('n', [event.data]))
    node.emitter, node.buffered = emitter, gathering(mapped, 5, [])
    return 'n', node, None


def cycle_behind_a_pipe(emitter, node):
    node.target = EventEmitter()
    node.buffered = gathering(node.target, 5, [])
    emitter.pipe(node.target)
    return 'n', node, None


CYCLES = [value for name, value in list(globals().items()) if name.startswith('cycle_')]


@pytest.mark.parametrize('make', CYCLES, ids=lambda f: f.__name__)
async def test_cycles_through_gathered_events_are_collected(make, collected):
    emitter, node = EventEmitter(), Node()
    name, data, metadata = make(emitter, node)
    await emitter.emit(name, data, metadata)
    async with emitter.batch_operations():
        await emitter.emit(name, data, metadata)
    refs = weakref.ref(emitter), weakref.ref(node), weakref.ref(node.buffered)
    del emitter, node, data, metadata
    collected()
    assert [ref() for ref in refs] == [None, None, None]


@pytest.mark.parametrize('make', CYCLES, ids=lambda f: f.__name__)
async def test_what_is_gathered_for_one_in_use_is_not_collected(make, collected):
    emitter, node = EventEmitter(), Node()
    name, data, metadata = make(emitter, node)
    buffered, seen = node.buffered, []
    buffered.on('**', lambda event: seen.extend(event.events))
    await emitter.emit(name, data, metadata)
    ref = weakref.ref(node)
    del emitter, node, data, metadata
    collected()
    assert ref() is not None
    await buffered.flush()
    assert seen[0].name == 'n' and seen[0].data is not None and seen[0].metadata is not None


async def test_an_event_in_two_buffers_is_kept_by_either(emitter, collected):
    """The collector must not count it twice."""
    seen, node = [], Node()
    one, two = gathering(emitter, 5, seen), gathering(emitter, 5, seen)
    ref = weakref.ref(node)
    await emitter.emit('n', node)
    node.one = one
    del node, one
    collected()
    assert ref() is not None
    await two.flush()
    assert seen == [[ref()]]
    seen.clear()
    two.close()
    emitter.close()
    collected()
    assert ref() is None


async def test_a_collection_while_a_gathered_batch_rests(emitter, collected):
    buffered, node = emitter.buffer(5), Node()

    @buffered.on('n')
    async def handler(event):
        await asyncio.sleep(0)
        gc.collect()
        assert [type(e.data) for e in event.events] == [Node, int]
    await emitter.emit('n', node)
    await emitter.emit('n', 1)
    node.emitter, node.buffered = emitter, buffered
    del node
    flush = asyncio.create_task(buffered.flush())
    await asyncio.sleep(0)
    collected()
    await flush


def test_what_cannot_be_derived_says_why(emitter):
    with pytest.raises(ValueError, match='one event or more'):
        emitter.buffer(0)
    with pytest.raises(ValueError, match='piped to itself'):
        emitter.pipe(emitter)
