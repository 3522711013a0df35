"""Emissions that rest in a suspended handler while something happens to the emitter: what is still called, by whom."""
import asyncio
import gc
import sys
import threading
import types

import pytest

from mtaio.events import Event, EventEmitter, EventPriority
from mtaio.exceptions import EventEmitError, EventHandlerError


@types.coroutine
def suspend(value=None):
    return (yield value)


def finish(pending):
    """Resumes by hand until the end."""
    try:
        while True:
            pending.send(None)
    except StopIteration:
        pass


def resting(emitter, name='a', data=1):
    pending = emitter.emit(name, data)
    pending.send(None)
    return pending


# --- Closing. Hazard 7: the emitter, or one behind which it rests, is closed meanwhile

def test_closing_ends_what_rests_when_its_handler_ends(emitter):
    """The running handler goes on to its end, no other is called, and the emission says that it was ended."""
    seen = []

    @emitter.on('a')
    async def handler(event):
        await suspend()
        seen.append('first part')
        await suspend()
        seen.append('second part')
    emitter.on('a')(lambda event: seen.append('not called'))
    emitter.on('a', EventPriority.MONITOR)(lambda event: seen.append('not called'))
    pending = resting(emitter)
    emitter.close()
    assert seen == []
    pending.send(None)
    assert seen == ['first part']
    with pytest.raises(EventEmitError, match='closed'):
        pending.send(None)
    assert seen == ['first part', 'second part']


def test_closing_from_within_the_resting_handler(emitter):
    @emitter.on('a')
    async def handler(event):
        await suspend()
        emitter.close()
        await suspend()
    pending = resting(emitter)
    pending.send(None)
    with pytest.raises(EventEmitError, match='closed'):
        pending.send(None)


def derived_and_more(emitter, seen, later):
    """A suspended handler behind a filter, and what comes after it."""
    filtered = emitter.filter(lambda event: True)

    @filtered.on('a')
    async def handler(event):
        await suspend()
        seen.append('derived ends')
    emitter.on('a', EventPriority.MONITOR)(later)
    return filtered


def test_closing_a_derived_emitter_calls_the_rest_in_the_emitting_task(emitter):
    """What comes after it is called by the send that ends the handler, not by who closes."""
    seen, who = [], []

    def monitor(event):
        seen.append('monitor')
        who.append(threading.get_ident())
    filtered = derived_and_more(emitter, seen, monitor)
    pending = resting(emitter)
    thread = threading.Thread(target=filtered.close)
    thread.start()
    thread.join()
    assert seen == []
    with pytest.raises(EventEmitError, match='closed'):
        pending.send(None)
    assert seen == ['derived ends', 'monitor'] and who == [threading.get_ident()]


def test_what_comes_after_a_closed_derived_emitter_may_suspend_and_fail(emitter):
    seen = []

    async def monitor(event):
        seen.append('monitor begins')
        await suspend('yielded')
        seen.append('monitor ends')
        raise ValueError('monitor')
    filtered = derived_and_more(emitter, seen, monitor)
    emitter.on('a', EventPriority.MONITOR)(lambda event: seen.append('another'))
    pending = resting(emitter)
    filtered.close()
    assert pending.send(None) == 'yielded'
    assert seen == ['derived ends', 'monitor begins']
    with pytest.raises(EventEmitError) as caught:
        pending.send(None)
    assert seen == ['derived ends', 'monitor begins', 'monitor ends', 'another']
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize('also', ['close', 'remove', 'drop'])
def test_what_was_to_come_later_is_removed(emitter, also):
    seen = []
    filtered = derived_and_more(emitter, seen, seen.append)
    pending = resting(emitter)
    filtered.close()
    if also == 'close':
        emitter.close()
    elif also == 'remove':
        emitter.remove_all_listeners()
    else:
        del pending
        gc.collect()
        assert seen == []
        return
    with pytest.raises(EventEmitError):
        pending.send(None)
    assert seen == ['derived ends']


def test_a_once_handler_that_was_to_come_later_is_called(emitter):
    seen = []
    filtered = emitter.filter(lambda event: True)

    @filtered.on('a')
    async def handler(event):
        await suspend()
    emitter.once('a', EventPriority.MONITOR)(lambda event: seen.append('once'))
    pending = resting(emitter)
    filtered.close()
    assert emitter.listener_count('a') == 0
    with pytest.raises(EventEmitError):
        pending.send(None)
    assert seen == ['once']


def test_throwing_and_closing_after_the_emitter_was_closed(emitter):
    for end in 'throw', 'close', 'drop':
        em, seen = EventEmitter(), []

        @em.on('a')
        async def handler(event):
            try:
                await suspend()
            finally:
                seen.append('ended')
        pending = resting(em)
        em.close()
        if end == 'throw':
            with pytest.raises((KeyError, EventEmitError)):
                pending.throw(KeyError('x'))
        elif end == 'close':
            pending.close()
        else:
            del pending
        gc.collect()
        assert seen == ['ended']


def test_a_piped_target_is_closed(emitter):
    seen, target = [], EventEmitter()
    emitter.pipe(target)

    @target.on('a')
    async def handler(event):
        await suspend()
        seen.append('target')
    emitter.on('a', EventPriority.MONITOR)(lambda event: seen.append('monitor'))
    pending = resting(emitter)
    target.close()
    with pytest.raises(EventEmitError):
        pending.send(None)
    assert seen == ['target', 'monitor']


def test_removing_the_suspended_handler(emitter):
    """It runs to its end; what comes after it is called."""
    seen = []

    @emitter.on('a')
    async def handler(event):
        await suspend()
        seen.append('ended')
    emitter.on('a')(lambda event: seen.append('next'))
    pending = resting(emitter)
    assert emitter.off('a', handler) == 1
    gc.collect()
    finish(pending)
    assert seen == ['ended', 'next']


# --- Many at once

def test_thousands_rest_and_are_resumed_in_another_order(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        await suspend()
        seen.append(event.data)
    emitter.on('a')(lambda event: seen.append(-event.data))
    pending = [resting(emitter, data=i) for i in range(1, 2001)]
    gc.collect()
    for p in pending[::-1]:
        finish(p)
    assert seen == [x for i in range(2000, 0, -1) for x in (i, -i)]


def test_emissions_resting_at_the_end_of_their_emitter():
    """Hazard 6: they hold it."""
    seen = []

    def begin():
        emitter = EventEmitter()

        @emitter.on('a')
        async def handler(event):
            await suspend()
            seen.append(event.data)
        return resting(emitter)
    pending = begin()
    gc.collect()
    finish(pending)
    assert seen == [1]


def test_a_chain_of_emissions_that_suspends_at_every_depth(emitter):
    """Hazard 8: what rests can grow deeper each time it is resumed, up to an error, and not beyond."""
    depth = 0

    @emitter.on('a')
    async def handler(event):
        nonlocal depth
        depth += 1
        await suspend()
        await emitter.emit('a', 1)
    pending = emitter.emit('a', 1)
    with pytest.raises((EventHandlerError, RecursionError)):
        for _ in range(100000):
            pending.send(None)
    assert depth > 50


def test_handlers_that_return_emissions(emitter):
    """No Python frame stands between them."""
    emitter.on('a')(lambda event: emitter.emit('a', 1))
    with pytest.raises(EventHandlerError):
        finish(emitter.emit('a', 1))
    emitter.remove_all_listeners()

    @emitter.on('a')
    def handler(event):
        return emitter.emit('a', event.data - 1) if event.data else suspend()
    for depth in 10, 100:
        finish(emitter.emit('a', depth))


# --- Garbage. Hazard 53

def test_a_cycle_through_a_resting_emission_and_its_event(emitter):
    import weakref

    class Data:
        pass
    data = Data()
    ref = weakref.ref(data)

    @emitter.on('a')
    async def handler(event):
        event.data.event = event
        await suspend()
    data.pending = resting(emitter, data=data)
    del data
    gc.collect()
    assert ref() is None
    emitter.off('a', handler)


def test_an_event_that_is_kept_in_a_cycle_is_collected(emitter):
    import weakref

    class Data:
        pass
    data = Data()
    ref = weakref.ref(data)
    emitter.on('a')(lambda event: setattr(event.data, 'event', event))
    finish(emitter.emit('a', data))
    assert data.event.data is data
    del data
    gc.collect()
    assert ref() is None


def test_kept_events_are_not_used_again(emitter):
    kept = []
    emitter.on('a')(kept.append)
    for i in range(300):
        finish(emitter.emit('a', i))
    assert [event.data for event in kept] == list(range(300))
    assert len({id(event) for event in kept}) == 300


def test_the_name_of_an_event_may_be_changed_while_it_rests(emitter):
    """The library goes on with the name it began with."""
    seen = []

    @emitter.on('some.name')
    async def handler(event):
        event.name = 'other'
        gc.collect()
        await suspend()
    emitter.filter(lambda event: True).on('some.*')(lambda event: seen.append(event.name))
    finish(emitter.emit('some.' + 'name'.strip(), 1))
    assert seen == ['other']


# --- Maps

def test_a_transform_that_gives_the_same_event_each_time(emitter):
    """It is shared then, as its maker wants it."""
    shared, seen = Event('a', 'shared'), []
    emitter.map(lambda event: shared).on('a')(seen.append)
    emitter.map(lambda event: shared).on('a')(seen.append)
    finish(emitter.emit('a', 1))
    finish(emitter.emit('a', 1))
    assert seen == [shared] * 4 and all(event is shared for event in seen)


def test_an_async_predicate_is_said_to_be_wrong(emitter):
    async def predicate(event):
        return True
    emitter.filter(predicate).on('a')(print)
    emitter.map(predicate).on('a')(print)
    with pytest.raises(EventHandlerError) as caught:
        finish(emitter.emit('a', 1))
    assert [(function, type(error)) for function, error in caught.value.errors] == [(predicate, TypeError)] * 2


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize('batched', [False, True])
def test_what_is_no_failure_passes_out_of_a_predicate(emitter, error, batched):
    seen = []

    def predicate(event):
        raise error
    emitter.filter(predicate).on('a')(seen.append)
    emitter.on('a', EventPriority.MONITOR)(seen.append)

    async def main():
        if not batched:
            return await emitter.emit('a', 1)
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
    with pytest.raises(error):
        finish(main())
    assert seen == []


# --- As deep as it goes: what is resumed there, goes on when the thread is less deep

def at_the_bottom(emitter, action):
    """Nests emissions until they are too deep, and acts there."""
    done = []

    @emitter.on('deep')
    def handler(event):
        try:
            finish(emitter.emit('deep', 1))
        except EventEmitError as error:
            if not done:
                assert 'deep' in str(error)
                done.append(True)
                action()
    finish(emitter.emit('deep', 1))
    assert done


@pytest.fixture
def high_limit():
    old = sys.getrecursionlimit()
    sys.setrecursionlimit(10000)
    yield
    sys.setrecursionlimit(old)


@pytest.mark.parametrize('end', ['send', 'close', 'throw', 'drop'])
def test_resumed_at_the_bottom(emitter, high_limit, end):
    seen, other = [], EventEmitter()

    @other.on('a')
    async def slow(event):
        await suspend('first')
        seen.append('first handler ends')

    @other.on('a')
    async def next_one(event):
        seen.append('second handler begins')
        await suspend('second')
        seen.append('second handler ends')
    pending, yielded = [other.emit('a', 1)], []
    assert pending[0].send(None) == 'first'
    at_the_bottom(emitter, lambda: yielded.append(pending[0].send(None)))
    assert seen == ['first handler ends'] and yielded == [None]
    if end == 'send':
        assert pending[0].send(None) == 'second'
        assert seen == ['first handler ends', 'second handler begins']
        finish(pending[0])
        assert seen[2:] == ['second handler ends']
        return
    if end == 'close':
        pending[0].close()
    elif end == 'throw':
        with pytest.raises(KeyError):
            pending[0].throw(KeyError('x'))
    pending.clear()
    gc.collect()
    assert seen == ['first handler ends']


@pytest.mark.parametrize('end', ['close', 'throw', 'drop'])
def test_ended_at_the_bottom(emitter, high_limit, end):
    seen, other = [], EventEmitter()

    @other.on('a')
    async def slow(event):
        try:
            await suspend()
        finally:
            seen.append('ended')
    other.on('a')(lambda event: seen.append('not called'))
    other.add_hook('after_emit', lambda event: hooked.append((gc.collect(), event.name, event.data)[1:]))
    pending, hooked = [resting(other, data='data')], []

    def action():
        if end == 'close':
            pending[0].close()
        elif end == 'throw':
            try:
                pending[0].throw(KeyboardInterrupt())
            except KeyboardInterrupt:
                pass
        pending.clear()
    at_the_bottom(emitter, action)
    gc.collect()
    assert seen == ['ended'] and hooked == [('a', 'data')]


@pytest.mark.parametrize('end', ['close', 'drop'])
def test_resumed_and_ended_at_the_bottom(emitter, high_limit, end):
    seen, other = [], EventEmitter()

    @other.on('a')
    async def slow(event):
        await suspend()
        seen.append('ended')
    other.on('a')(lambda event: seen.append('not called'))
    other.add_hook('after_emit', lambda event: hooked.append((gc.collect(), event.name, event.data)[1:]))
    pending, hooked = [resting(other, data='data')], []

    def action():
        pending[0].send(None)
        if end == 'close':
            pending[0].close()
        pending.clear()
    at_the_bottom(emitter, action)
    gc.collect()
    assert seen == ['ended'] and hooked == [('a', 'data')]
