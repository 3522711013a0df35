"""Derived emitters (filter, map, pipe, buffer) and batches."""
import asyncio
import weakref

import pytest

from mtaio.events import Event, EventEmitter, EventPriority
from mtaio.exceptions import EventEmitError, EventError, EventHandlerError

P = EventPriority


def always(event):
    return True


def same(event):
    return Event(event.name, event.data)


# --- filter and map

async def test_derived_emitters_are_emitters(emitter):
    """They can be listened to, filtered and mapped again, emitted on."""
    seen = []
    filtered = emitter.filter(lambda event: event.data > 1)
    mapped = filtered.map(lambda event: Event(event.name, event.data * 10))
    last = mapped.filter(lambda event: event.data < 40)
    for e, name in ((filtered, 'filtered'), (mapped, 'mapped'), (last, 'last')):
        assert isinstance(e, EventEmitter)
        e.on('n')(lambda event, name=name: seen.append((name, event.data)))
    for n in 1, 2, 5:
        await emitter.emit('n', n)
    assert sorted(seen) == sorted([('filtered', 2), ('mapped', 20), ('last', 20), ('filtered', 5), ('mapped', 50)])
    seen.clear()
    await filtered.emit('n', 0)   # does not pass its own predicate, nor reach its source
    assert seen == [('filtered', 0), ('mapped', 0), ('last', 0)]


async def test_after_the_sources_handlers_before_its_monitors(emitter):
    seen = []
    emitter.on('a', P.MONITOR)(lambda event: seen.append('monitor'))
    emitter.filter(always).on('a', P.HIGHEST)(lambda event: seen.append('derived'))
    emitter.on('a', P.LOWEST)(lambda event: seen.append('lowest'))
    await emitter.emit('a', 1)
    assert seen == ['lowest', 'derived', 'monitor']


async def test_a_stopped_event_does_not_reach_them(emitter):
    seen = []
    emitter.on('a')(lambda event: setattr(event, 'propagate', False))
    emitter.filter(always).on('a')(lambda event: seen.append('derived'))
    await emitter.emit('a', 1)
    assert seen == []


async def test_filter_passes_the_same_event_and_stopping_it_stops_it(emitter):
    seen = []
    emitter.on('a')(seen.append)
    emitter.filter(always).on('a')(lambda event: (seen.append(event), setattr(event, 'propagate', False)))
    emitter.on('a', P.MONITOR)(lambda event: seen.append(event.propagate))
    await emitter.emit('a', 1)
    assert seen[0] is seen[1] and seen[2] is False


async def test_map_passes_a_new_event_and_stopping_it_stays_there(emitter):
    seen = []
    mapped = emitter.map(same)
    mapped.on('a', P.HIGH)(lambda event: (seen.append(event), setattr(event, 'propagate', False)))
    mapped.on('a')(lambda event: seen.append('not called'))
    emitter.on('a', P.MONITOR)(seen.append)
    await emitter.emit('a', 1)
    assert len(seen) == 2 and seen[0] is not seen[1] and seen[1].propagate is True


async def test_handlers_of_the_source_never_see_a_mapped_event(emitter):
    seen = []
    for priority in P:
        emitter.on('a', priority)(lambda event: seen.append(event.data))
    emitter.map(lambda event: Event(event.name, 'mapped')).on('a')(lambda event: None)
    await emitter.emit('a', 'original')
    assert seen == ['original'] * 6


async def test_a_map_may_give_another_name_and_metadata(emitter):
    seen = []
    emitter.map(lambda event: Event('other', 2, metadata={'m': 1})).on('a')(
        lambda event: seen.append((event.name, event.data, event.metadata)))
    await emitter.emit('a', 1)
    assert seen == [('other', 2, {'m': 1})]


async def test_a_map_may_return_the_event_or_a_stopped_one(emitter):
    seen = []
    emitter.map(lambda event: event).on('a')(lambda event: seen.append(event.data))
    emitter.map(lambda event: Event('a', 2, propagate=False)).on('a')(lambda event: seen.append('stopped'))
    await emitter.emit('a', 1)
    assert seen == [1]


@pytest.mark.parametrize('result', [None, 5, 'text', ('a', 1)])
async def test_a_map_that_gives_no_event_fails(emitter, result):
    seen = []
    emitter.map(lambda event: result).on('a')(lambda event: seen.append(event))
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', 1)
    assert isinstance(caught.value.__cause__, TypeError) and seen == []


async def test_a_failing_predicate_is_a_failure_and_siblings_still_run(emitter):
    seen = []

    def predicate(event):
        raise ValueError('predicate')

    def transform(event):
        raise KeyError('transform')
    emitter.filter(predicate).on('a')(lambda event: seen.append('no'))
    emitter.map(transform).on('a')(lambda event: seen.append('no'))
    emitter.filter(always).on('a')(lambda event: seen.append('sibling'))
    behind = emitter.filter(always)

    @behind.on('a')
    async def failing(event):
        raise TypeError('behind')
    emitter.on('a', P.MONITOR)(lambda event: seen.append('monitor'))
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', 1)
    errors = {type(error): handler for handler, error in caught.value.errors}
    assert set(errors) == {ValueError, KeyError, TypeError}
    assert (errors[ValueError], errors[KeyError], errors[TypeError]) == (predicate, transform, failing)
    assert seen == ['sibling', 'monitor']


async def test_an_async_handler_behind_a_filter_suspends_the_emission(emitter):
    seen = []

    @emitter.filter(always).filter(always).on('a')
    async def handler(event):
        await asyncio.sleep(0)
        seen.append('derived')
    emitter.on('a', P.MONITOR)(lambda event: seen.append('monitor'))
    await emitter.emit('a', 1)
    assert seen == ['derived', 'monitor']


async def test_truth_of_what_a_predicate_returns(emitter):
    seen = []

    class Bad:
        def __bool__(self):
            raise ValueError('truth')
    emitter.filter(lambda event: event.data).on('a')(lambda event: seen.append(event.data))
    for data in 1, 0, 'x', '', [0], [], None:
        await emitter.emit('a', data)
    assert seen == [1, 'x', [0]]
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', Bad())
    assert isinstance(caught.value.__cause__, ValueError)


async def test_nothing_is_evaluated_where_nobody_listens(emitter):
    calls = []

    def predicate(event):
        calls.append(event.name)
        return True

    def transform(event):
        calls.append(event.name)
        return event
    filtered = emitter.filter(predicate)
    mapped = filtered.map(transform)
    await emitter.emit('a', 1)
    mapped.on('b')(lambda event: None)
    await emitter.emit('a', 1)
    assert calls == []
    await emitter.emit('b', 1)
    assert calls == ['b', 'b']


async def test_an_optional_name_restricts(emitter):
    """Deriving with filter and map takes an optional event name."""
    seen, calls = [], []
    filtered = emitter.filter(lambda event: calls.append(event.name) or True, 'user.*')
    mapped = emitter.map(lambda event: calls.append(event.name) or Event('m', 0), 'user.created')
    filtered.on('*')(lambda event: seen.append(event.name))
    mapped.on('*')(lambda event: seen.append(event.name))
    for name in 'other', 'user.created', 'user.deleted':
        await emitter.emit(name, 1)
    assert sorted(calls) == ['user.created', 'user.created', 'user.deleted']
    assert sorted(seen) == ['m', 'user.created', 'user.deleted']
    with pytest.raises(EventError):
        emitter.filter(always, 'log*')


@pytest.mark.parametrize('function', [None, 1, 'text'])
def test_what_cannot_be_called_cannot_filter(emitter, function):
    with pytest.raises(TypeError):
        emitter.filter(function)
    with pytest.raises(TypeError):
        emitter.map(function)


async def test_a_derived_emitter_lives_while_it_has_listeners(emitter, collected):
    seen = []
    emitter.filter(always).map(same).filter(always).on('a')(lambda event: seen.append(event.data))
    collected()
    await emitter.emit('a', 1)
    assert seen == [1]


async def test_a_derived_emitter_without_listeners_is_gone(emitter, collected):
    def predicate(event):
        return True
    ref = weakref.ref(predicate)
    derived = emitter.filter(predicate)
    handler = derived.on('a')(lambda event: None)
    del predicate
    derived.off('a', handler)
    del derived
    collected()
    assert ref() is None


async def test_closing_detaches(emitter):
    seen = []
    filtered = emitter.filter(always)
    filtered.on('a')(lambda event: seen.append(1))
    result = filtered.close()
    if result is not None:
        await result
    await emitter.emit('a', 1)
    assert seen == []
    with pytest.raises(EventError):
        filtered.on('a')(print)


async def test_closing_the_source_leaves_derived_ones_usable(emitter):
    seen = []
    filtered = emitter.filter(always)
    filtered.on('a')(lambda event: seen.append(event.data))
    result = emitter.close()
    if result is not None:
        await result
    await filtered.emit('a', 1)
    assert seen == [1]


async def test_nothing_leaks_when_many_are_made_and_dropped(emitter):
    """A thousandth of 1,000,000 here; the leak tests do the rest."""
    for _ in range(1000):
        derived = emitter.filter(always).map(same)
        derived.on('a')(lambda event: None)
        derived.remove_all_listeners()
    emitter.on('a')(lambda event: None)
    await emitter.emit('a', 1)


async def test_once_behind_a_filter(emitter):
    seen = []
    emitter.filter(lambda event: event.data > 1).once('a')(lambda event: seen.append(event.data))
    for n in range(5):
        await emitter.emit('a', n)
    assert seen == [2]


async def test_decorators_on_derived_emitters_return_the_function(emitter):
    async def handler(event):
        pass
    assert emitter.filter(always).on('a')(handler) is handler


async def test_a_long_chain(emitter):
    """As deep as it may be, and a clear error beyond."""
    last = emitter
    with pytest.raises(EventError):
        for i in range(1000):
            last = last.filter(always)
    assert i >= 100
    seen = []
    last.on('a')(lambda event: seen.append(1))
    await emitter.emit('a', 1)
    assert seen == [1]


# --- pipe

async def test_pipe(emitter):
    other, seen = EventEmitter(), []
    other.on('*')(lambda event: seen.append((event.name, event.data, event.metadata)))
    emitter.pipe(other)
    await emitter.emit('a', 1, {'m': 1})
    assert seen == [('a', 1, {'m': 1})]


async def test_a_pipe_of_a_pattern_ends_when_cancelled(emitter):
    other, seen = EventEmitter(), []
    other.on('*')(lambda event: seen.append(event.name))
    pipe = emitter.pipe(other, 'user.*')
    for name in 'a', 'user.created':
        await emitter.emit(name, 1)
    pipe.cancel()
    await emitter.emit('user.created', 1)
    assert seen == ['user.created']


async def test_pipes_that_are_none(emitter):
    for target in None, 1, print:
        with pytest.raises(TypeError):
            emitter.pipe(target)
    with pytest.raises((EventError, ValueError)):
        emitter.pipe(emitter)


async def test_a_ring_of_pipes_ends_in_an_error(emitter):
    other = EventEmitter()
    emitter.pipe(other)
    other.pipe(emitter)
    with pytest.raises(EventError):
        await emitter.emit('a', 1)


# --- batches

async def test_each_handler_is_called_once_with_all_that_match(emitter):
    seen = []

    def note(label, event):
        seen.append((label, event.name, event.data, [(e.name, e.data) for e in event.events]))
    emitter.on('a')(lambda event: note('a', event))
    emitter.on('*')(lambda event: note('*', event))
    emitter.on('user.*', P.HIGH)(lambda event: note('user', event))
    emitter.on('never')(lambda event: note('never', event))
    emitter.on('*', P.MONITOR)(lambda event: note('monitor', event))
    async with emitter.batch_operations():
        for name, data in ('a', 1), ('user.x', 2), ('a', 3), ('user.y', 4):
            await emitter.emit(name, data)
        assert seen == []
    everything = [('a', 1), ('user.x', 2), ('a', 3), ('user.y', 4)]
    assert seen == [('user', '*', [2, 4], [('user.x', 2), ('user.y', 4)]), ('a', 'a', [1, 3], [('a', 1), ('a', 3)]),
                    ('*', '*', [1, 2, 3, 4], everything), ('monitor', '*', [1, 2, 3, 4], everything)]


async def test_one_handler_serves_plain_and_batched(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        for e in event.events:
            await asyncio.sleep(0)
            seen.append(e.data)
    await emitter.emit('a', 1)
    async with emitter.batch_operations():
        await emitter.emit('a', 2)
        await emitter.emit('a', 3)
    assert seen == [1, 2, 3]


async def test_recorded_events_keep_their_metadata(emitter):
    kept, metadata = [], {'m': 1}
    emitter.on('a')(kept.append)
    async with emitter.batch_operations():
        await emitter.emit('a', 1, metadata)
        await emitter.emit('a', 2)
    assert kept[0].events[0].metadata is metadata and kept[0].events[1].metadata == {}


async def test_a_batch_behind_a_map_that_gives_another_name(emitter):
    """Handlers are chosen by the name that was emitted, as for a single event."""
    mapped, seen = emitter.map(lambda event: Event('renamed', event.data)), []
    mapped.on('a')(lambda event: seen.append((event.name, [e.data for e in event.events])))
    mapped.on('renamed')(lambda event: seen.append('never'))
    async with emitter.batch_operations():
        for i in range(2):
            await emitter.emit('a', i)
            await emitter.emit('b', i)
    assert seen == [('renamed', [0, 1])]


async def test_a_batch_of_one_is_a_batch(emitter):
    kept = []
    emitter.on('a')(kept.append)
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
    assert kept[0].data == [1] and kept[0].name == 'a' and len(kept[0].events) == 1


async def test_an_empty_batch_calls_nobody(emitter):
    emitter.on('*')(lambda event: 1 / 0)
    async with emitter.batch_operations():
        pass


async def test_nested_batches_deliver_at_the_outermost_end(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
        async with emitter.batch_operations():
            await emitter.emit('a', 2)
        assert seen == []
        await emitter.emit('a', 3)
    assert seen == [[1, 2, 3]]


async def test_leaving_by_an_exception_still_delivers(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(event.data))
    with pytest.raises(KeyError, match='mine'):
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
            raise KeyError('mine')
    assert seen == [[1]]
    await emitter.emit('a', 2)
    assert seen == [[1], 2]


async def test_leaving_by_an_exception_with_a_failing_handler(emitter):
    emitter.on('a')(lambda event: 1 / 0)
    with pytest.raises((KeyError, EventHandlerError)) as caught:
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
            raise KeyError('mine')
    chain, error = [], caught.value
    while error:
        chain.append(type(error))
        error = error.__context__ or error.__cause__
    assert KeyError in chain


async def test_failures_come_out_of_the_end(emitter):
    seen = []

    @emitter.on('a')
    async def failing(event):
        await asyncio.sleep(0)
        raise ValueError('x')
    emitter.on('a')(lambda event: seen.append(event.data))
    with pytest.raises(EventHandlerError) as caught:
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
            await emitter.emit('a', 2)
    assert seen == [[1, 2]] and caught.value.errors[0][0] is failing
    assert caught.value.event.data == [1, 2]


async def test_a_bad_name_is_refused_when_emitted(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        with pytest.raises(EventEmitError):
            await emitter.emit('a.*', 1)
        await emitter.emit('a', 1)
    assert seen == [[1]]


async def test_other_tasks_are_not_held_up(emitter):
    """A batch belongs to the task that opened it, and what that awaits or starts meanwhile awaiting."""
    seen, inside, done = [], asyncio.Event(), asyncio.Event()
    emitter.on('a')(lambda event: seen.append(event.data))

    async def other():
        await inside.wait()
        await emitter.emit('a', 'other')
        done.set()
    task = asyncio.create_task(other())
    async with emitter.batch_operations():
        await emitter.emit('a', 'batched')
        inside.set()
        await done.wait()
        assert seen == ['other']
    assert seen == ['other', ['batched']]
    await task


async def test_what_the_task_awaits_or_starts_takes_part(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(event.data))

    async def called(data):
        await asyncio.sleep(0)
        await emitter.emit('a', data)
    async with emitter.batch_operations():
        await called(1)
        await asyncio.gather(called(2), called(3))
        await asyncio.wait_for(called(4), 1)
    assert seen == [[1, 2, 3, 4]]


async def test_a_task_that_outlives_the_batch_emits_plainly(emitter):
    seen, gate = [], asyncio.Event()
    emitter.on('a')(lambda event: seen.append(event.data))

    async def late():
        await gate.wait()
        await emitter.emit('a', 'late')
    async with emitter.batch_operations():
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
        await emitter.emit('a', 1)
    gate.set()
    await task
    assert seen == [[1], 'late']


async def test_handlers_of_the_delivery_emit_plainly(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        await emitter.emit('b', 'from the handler')
    emitter.on('b')(lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
    assert seen == ['from the handler']


async def test_another_emitter_is_not_batched(emitter):
    other, seen = EventEmitter(), []
    other.on('a')(lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        await other.emit('a', 1)
        assert seen == [1]


async def test_batches_of_two_emitters_at_once(emitter):
    other, seen = EventEmitter(), []
    for e, name in (emitter, 'one'), (other, 'two'):
        e.on('a')(lambda event, name=name: seen.append((name, event.data)))
    async with emitter.batch_operations(), other.batch_operations():
        await emitter.emit('a', 1)
        await other.emit('a', 2)
        await emitter.emit('a', 3)
    assert sorted(seen) == [('one', [1, 3]), ('two', [2])]


async def test_filters_see_each_recorded_event(emitter):
    seen, calls = [], []

    def odd(event):
        calls.append(event.data)
        return event.data % 2
    emitter.filter(odd).on('n')(lambda event: seen.append([e.data for e in event.events]))
    emitter.map(lambda event: Event(event.name, event.data * 10)).on('n')(
        lambda event: seen.append([e.data for e in event.events]))
    async with emitter.batch_operations():
        for n in range(5):
            await emitter.emit('n', n)
    assert calls == list(range(5))
    assert sorted(seen) == [[0, 10, 20, 30, 40], [1, 3]]


async def test_stopping_a_batch(emitter):
    seen = []
    emitter.on('a', P.HIGH)(lambda event: setattr(event, 'propagate', False))
    emitter.on('a')(lambda event: seen.append('not called'))
    emitter.on('a', P.MONITOR)(lambda event: seen.append(('monitor', event.propagate)))
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
    assert seen == [('monitor', False)]


async def test_once_in_a_batch(emitter):
    seen = []
    emitter.once('a')(lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
        await emitter.emit('a', 2)
    assert seen == [[1, 2]] and emitter.listener_count('a') == 0


async def test_a_batch_works_on_the_handlers_at_its_end(emitter):
    seen = []
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
        emitter.on('a')(lambda event: seen.append(event.data))
    assert seen == [[1]]


async def test_cancelled_inside_a_batch(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(event.data))

    async def main():
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
            await asyncio.sleep(100)
    task = asyncio.create_task(main())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [[1]]
    await emitter.emit('a', 2)
    assert seen == [[1], 2]


async def test_cancelled_while_delivering(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append('cancelled')
            raise

    async def main():
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
    task = asyncio.create_task(main())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ['cancelled']


async def test_closing_inside_a_batch(emitter):
    emitter.on('a')(lambda event: None)
    with pytest.raises(EventError):
        async with emitter.batch_operations():
            await emitter.emit('a', 1)
            result = emitter.close()
            if result is not None:
                await result


async def test_what_was_recorded_is_freed_at_the_end(emitter, collected):
    class Data:
        pass
    refs = []
    emitter.on('a')(lambda event: None)
    async with emitter.batch_operations():
        for _ in range(100):
            data = Data()
            refs.append(weakref.ref(data))
            await emitter.emit('a', data)
        del data
        collected()
        assert all(ref() for ref in refs)
    collected()
    assert not any(ref() for ref in refs)


async def test_a_batch_that_is_never_ended(emitter, collected):
    class Data:
        pass
    data = Data()
    ref = weakref.ref(data)

    async def main(data):
        await emitter.batch_operations().__aenter__()
        await emitter.emit('a', data)
    await asyncio.create_task(main(data))
    del data
    await asyncio.sleep(0)   # the loop still has the task's context
    collected()
    assert ref() is None


async def test_a_batch_of_a_derived_emitter(emitter):
    seen = []
    filtered = emitter.filter(always)
    filtered.on('a')(lambda event: seen.append(event.data))
    async with filtered.batch_operations():
        await filtered.emit('a', 1)
        await filtered.emit('a', 2)
        await emitter.emit('a', 3)
    assert seen == [3, [1, 2]]


async def test_error_events_in_a_batch(emitter):
    with pytest.raises(EventEmitError):
        async with emitter.batch_operations():
            await emitter.emit('error', ValueError())


# --- buffer

async def test_buffer_passes_on_n_at_a_time(emitter):
    seen = []
    buffered = emitter.buffer(3)
    buffered.on('n')(lambda event: seen.append([e.data for e in event.events]))
    for n in range(7):
        await emitter.emit('n', n)
    assert seen == [[0, 1, 2], [3, 4, 5]]
    for n in 7, 8:
        await emitter.emit('n', n)
    assert seen[2:] == [[6, 7, 8]]


@pytest.mark.parametrize('n', [0, -1, None, 1.5, 'x', 2**70])
def test_buffers_that_are_none(emitter, n):
    with pytest.raises((TypeError, ValueError, OverflowError, EventError)):
        emitter.buffer(n)
