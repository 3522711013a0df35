"""The rest of what users of pyee, Node and emittery know: waiting, iterating, suppressing, timed emissions, hooks."""
import asyncio
import gc
import inspect
import itertools
import math
import sys
import weakref

import pytest

from mtaio.events import Event, EventEmitter, EventListener, EventPriority
from mtaio.exceptions import EventEmitError, EventError, EventHandlerError


async def finish(result):
    if result is not None:
        await result


# --- wait_for

async def test_wait_for(emitter):
    task = asyncio.create_task(emitter.wait_for('a'))
    await asyncio.sleep(0)
    assert emitter.listener_count('a') == 1
    await emitter.emit('b', 0)
    await emitter.emit('a', 1, {'m': 1})
    event = await task
    assert (event.name, event.data, event.metadata) == ('a', 1, {'m': 1})
    assert emitter.listener_count('a') == 0


async def test_wait_for_with_a_check(emitter):
    task = asyncio.create_task(emitter.wait_for('n', check=lambda event: event.data > 2))
    await asyncio.sleep(0)
    for n in range(5):
        await emitter.emit('n', n)
    assert (await task).data == 3


async def test_wait_for_a_pattern(emitter):
    task = asyncio.create_task(emitter.wait_for('user.*'))
    await asyncio.sleep(0)
    await emitter.emit('user.login', 1)
    assert (await task).name == 'user.login'


async def test_wait_for_with_a_time_limit(emitter):
    with pytest.raises(asyncio.TimeoutError):
        await emitter.wait_for('a', timeout=0.005)
    with pytest.raises(asyncio.TimeoutError):
        await emitter.wait_for('a', 0)
    assert emitter.listener_count('a') == 0
    for timeout in math.nan, 'x':
        with pytest.raises((TypeError, ValueError)):
            await emitter.wait_for('a', timeout)
    assert emitter.listener_count('a') == 0


async def test_wait_for_cancelled(emitter):
    """Hazard 48: the waiter is removed."""
    task = asyncio.create_task(emitter.wait_for('a'))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert emitter.listener_count('a') == 0
    await emitter.emit('a', 1)


async def test_wait_for_on_an_emitter_that_closes(emitter):
    task = asyncio.create_task(emitter.wait_for('a'))
    await asyncio.sleep(0)
    await finish(emitter.close())
    with pytest.raises(EventError):
        await asyncio.wait_for(task, 60)


async def test_wait_for_refuses_what_is_no_pattern(emitter):
    with pytest.raises(EventError):
        await emitter.wait_for('log*')


async def test_several_wait(emitter):
    tasks = [asyncio.create_task(emitter.wait_for('a')) for _ in range(5)]
    await asyncio.sleep(0)
    await emitter.emit('a', 1)
    assert [(await task).data for task in tasks] == [1] * 5


async def test_a_check_that_fails(emitter):
    """It is a failure of the emission, of the wait, or of both; nobody waits for ever."""
    def check(event):
        raise ValueError('check')
    task = asyncio.create_task(emitter.wait_for('a', check=check))
    await asyncio.sleep(0)
    failed = 0
    try:
        await emitter.emit('a', 1)
    except EventHandlerError:
        failed += 1
    try:
        await asyncio.wait_for(task, 0.05)
    except ValueError:
        failed += 1
    except asyncio.TimeoutError:
        pass
    assert failed and emitter.listener_count('a') == 0


# --- events

async def test_events_as_an_iterator(emitter):
    got = []

    async def consume():
        async for event in emitter.events('user.*'):
            got.append((event.name, event.data))
            if event.data == 3:
                break
    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    for n in range(5):
        await emitter.emit('user.x', n)
        await emitter.emit('other', n)
    await asyncio.wait_for(task, 60)
    assert got == [('user.x', n) for n in range(4)]
    gc.collect()
    await asyncio.sleep(0)
    gc.collect()
    assert emitter.listener_count() == 0


async def test_events_are_collected_from_the_first_step_on(emitter):
    iterator = emitter.events('a')
    first = asyncio.ensure_future(iterator.__anext__())
    await asyncio.sleep(0)
    await emitter.emit('a', 1)
    await emitter.emit('a', 2)
    assert (await first).data == 1
    assert (await iterator.__anext__()).data == 2
    await finish(iterator.aclose())
    assert emitter.listener_count('a') == 0


async def test_iterating_ends_with_the_emitter(emitter):
    async def consume():
        return [event.data async for event in emitter.events('a')]
    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    await emitter.emit('a', 1)
    await finish(emitter.close())
    assert await asyncio.wait_for(task, 60) == [1]


async def test_a_dropped_iterator_is_cleaned_up(emitter, collected):
    iterator = emitter.events('a')
    task = asyncio.ensure_future(iterator.__anext__())
    await asyncio.sleep(0)
    await emitter.emit('a', 1)
    await task
    del iterator, task
    for _ in range(5):
        collected()
        await asyncio.sleep(0)
    assert emitter.listener_count('a') == 0


# --- suppress and replay

async def test_suppress_and_replay(emitter):
    """What is emitted during the block reaches no handler, but the list; in order, and may be replayed."""
    seen = []
    emitter.on('*')(lambda event: seen.append((event.name, event.data, event.metadata)))
    async with emitter.suppress_events('a') as held:
        await emitter.emit('a', 1, {'m': 1})
        await emitter.emit('b', 2)
        await emitter.emit('a', 3)
        assert seen == [('b', 2, {})]
    assert [(e.name, e.data) for e in held] == [('a', 1), ('a', 3)]
    assert len(seen) == 1
    await emitter.replay_events(held)
    assert seen == [('b', 2, {}), ('a', 1, {'m': 1}), ('a', 3, {})]
    await emitter.emit('a', 4)
    assert seen[-1] == ('a', 4, {})


async def test_suppress_everything(emitter):
    seen = []
    emitter.on('*')(lambda event: seen.append(event.data))
    with emitter.suppress_events() as held:
        await emitter.emit('a', 1)
        await emitter.emit('b.c', 2)
    assert seen == []
    await emitter.replay_events(reversed(held))
    assert seen == [2, 1]


async def test_suppressing_until_a_replay(emitter):
    """Without a block: replay_events() ends all suppressions, and emits what they hold."""
    seen = []
    emitter.on('*')(lambda event: seen.append((event.name, event.data)))
    emitter.suppress_events('a')
    await emitter.emit('a', 1)
    await emitter.emit('b', 2)
    assert seen == [('b', 2)]
    await emitter.replay_events()
    await emitter.emit('a', 3)
    assert seen == [('b', 2), ('a', 1), ('a', 3)]


async def test_suppressions_overlap(emitter):
    """The oldest that matches takes the event; each ends alone."""
    seen = []
    emitter.on('*')(lambda event: seen.append(event.name))
    first, second = emitter.suppress_events('a.*'), emitter.suppress_events()
    held_first, held_second = first.__enter__(), second.__enter__()
    await emitter.emit('a.b', 1)
    await emitter.emit('b', 1)
    first.__exit__(None, None, None)
    await emitter.emit('a.b', 2)
    second.__exit__(None, None, None)
    await emitter.emit('a.b', 3)
    assert [e.data for e in held_first] == [1]
    assert [(e.name, e.data) for e in held_second] == [('b', 1), ('a.b', 2)]
    assert seen == ['a.b']


async def test_bad_names_are_refused_while_suppressed(emitter):
    with emitter.suppress_events():
        with pytest.raises(EventEmitError):
            await emitter.emit('a.*', 1)
    with pytest.raises(EventError):
        with emitter.suppress_events('log*'):
            pass


async def test_failures_of_a_replay(emitter):
    """Every event is replayed; then the failures are raised."""
    seen = []

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        seen.append(event.data)
        raise ValueError
    with emitter.suppress_events() as held:
        await emitter.emit('a', 1)
        await emitter.emit('a', 2)
    with pytest.raises(EventHandlerError) as caught:
        await emitter.replay_events(held)
    assert seen == [1, 2] and len(caught.value.errors) == 2


async def test_what_is_held_back_is_freed(emitter, collected):
    class Data:
        pass
    data = Data()
    ref = weakref.ref(data)
    with emitter.suppress_events() as held:
        await emitter.emit('a', data)
    del data
    collected()
    assert ref() is held[0].data
    del held
    collected()
    assert ref() is None


# --- emit_after, emit_periodic

async def test_emit_after(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append((event.data, event.metadata)))
    emitter.emit_after(0.01, 'a', 1, {'m': 1})
    await asyncio.sleep(0)
    assert seen == []
    await asyncio.sleep(0.05)
    assert seen == [(1, {'m': 1})]


async def test_emit_after_can_be_cancelled(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(1))
    handle = emitter.emit_after(0.01, 'a', 1)
    handle.cancel()
    await asyncio.sleep(0.03)
    assert seen == []


async def test_emit_periodic(emitter):
    seen = []
    numbers = itertools.count()
    emitter.on('tick')(lambda event: seen.append(event.data))
    handle = emitter.emit_periodic(0.005, 'tick', lambda: next(numbers))
    await asyncio.sleep(0.1)
    handle.cancel()
    await asyncio.sleep(0)
    count = len(seen)
    assert count >= 3
    await asyncio.sleep(0.03)
    assert seen == list(range(count))


async def test_emit_periodic_in_full(emitter):
    seen = []

    async def data():
        await asyncio.sleep(0)
        return 1
    emitter.on('tick')(lambda event: seen.append((event.data, event.metadata)))
    await emitter.emit_periodic(0.001, 'tick', data, lambda: {'m': 2}, max_count=3)
    assert seen == [(1, {'m': 2})] * 3


async def test_a_failing_handler_does_not_end_periodic_emissions(emitter):
    seen, errors = [], []
    emitter.on('error')(lambda event: errors.append(event.data))

    @emitter.on('tick')
    def handler(event):
        seen.append(1)
        raise ValueError
    await emitter.emit_periodic(0.001, 'tick', lambda: 1, max_count=3)
    assert len(seen) == 3 and [type(e) for e in errors] == [ValueError] * 3


async def test_closing_ends_timed_emissions(emitter):
    seen = []
    emitter.on('tick')(lambda event: seen.append(1))
    emitter.emit_periodic(0.002, 'tick', lambda: 1)
    emitter.emit_after(0.01, 'tick', 1)
    await finish(emitter.close())
    await asyncio.sleep(0.03)
    assert seen == []


@pytest.mark.parametrize('delay', [math.nan, 'x', None])
async def test_delays_that_are_none(emitter, delay):
    with pytest.raises((TypeError, ValueError)):
        await emitter.emit_after(delay, 'a', 1)
    with pytest.raises((TypeError, ValueError)):
        await emitter.emit_periodic(delay, 'a', lambda: 1, max_count=2)


# --- Hooks

async def test_hooks(emitter):
    seen = []
    emitter.add_hook('before_emit', lambda event: seen.append(('before', event.name, event.data)))
    emitter.add_hook('after_emit', lambda event: seen.append(('after', event.name)))
    emitter.on('a')(lambda event: seen.append('handler'))
    await emitter.emit('a', 1)
    await emitter.emit('nobody', 2)
    assert seen == [('before', 'a', 1), 'handler', ('after', 'a'), ('before', 'nobody', 2), ('after', 'nobody')]


async def test_error_hooks(emitter):
    seen = []
    emitter.add_hook('on_error', lambda *arguments: seen.append(arguments))

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        raise ValueError('x')
    with pytest.raises(EventHandlerError):
        await emitter.emit('a', 1)
    assert len(seen) == 1
    event, error = seen[0]
    assert event.name == 'a' and type(error) is ValueError


async def test_after_comes_when_the_last_handler_has_finished(emitter):
    seen = []
    emitter.add_hook('after_emit', lambda event: seen.append('after'))

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0.001)
        seen.append('handler')
    await emitter.emit('a', 1)
    assert seen == ['handler', 'after']


async def test_removing_hooks(emitter):
    seen = []

    def hook(event):
        seen.append(event.name)
    emitter.add_hook('before_emit', hook)
    assert emitter.remove_hook('before_emit', hook) == 1
    assert emitter.remove_hook('before_emit', hook) == 0
    await emitter.emit('a', 1)
    assert seen == []


def test_hooks_that_are_none(emitter):
    with pytest.raises((ValueError, TypeError)):
        emitter.add_hook('nonsense', print)
    with pytest.raises(TypeError):
        emitter.add_hook('before_emit', None)
    with pytest.raises(TypeError):
        emitter.add_hook('before_emit', finish)   # it could not be awaited


async def test_a_failing_hook_changes_nothing(emitter, monkeypatch):
    seen, unraisable = [], []
    monkeypatch.setattr(sys, 'unraisablehook', lambda args: unraisable.append(args.exc_type))
    emitter.on('a')(lambda event: seen.append(1))
    emitter.add_hook('before_emit', lambda event: 1 / 0)
    emitter.add_hook('after_emit', lambda event: [][0])
    await emitter.emit('a', 1)
    assert seen == [1] and unraisable == [ZeroDivisionError, IndexError]


# --- Closing

async def test_close_and_shutdown():
    for name in 'close', 'shutdown':
        emitter = EventEmitter()
        emitter.on('a')(lambda event: None)
        await finish(getattr(emitter, name)())
        assert emitter.listener_count() == 0
        with pytest.raises(EventEmitError):
            await emitter.emit('a', 1)
        await finish(getattr(emitter, name)())


async def test_async_with():
    seen = []
    async with EventEmitter() as emitter:
        emitter.on('a')(lambda event: seen.append(1))
        await emitter.emit('a', 1)
    with pytest.raises(EventEmitError):
        await emitter.emit('a', 1)
    with pytest.raises(KeyError):
        async with EventEmitter() as emitter:
            raise KeyError
    assert seen == [1]


# --- Protocols, docs

def test_event_listener_is_a_protocol():
    class Good:
        async def __call__(self, event):
            pass
    assert inspect.isclass(EventListener) and getattr(EventListener, '_is_protocol', False)


PUBLIC = [name for name in dir(EventEmitter) if not name.startswith('_')]


@pytest.mark.parametrize('name', PUBLIC)
def test_docstrings_and_signatures_of_everything_public(name):
    member = inspect.getattr_static(EventEmitter, name)
    assert name == 'name' or inspect.getdoc(member), name
    if callable(getattr(EventEmitter, name)):
        signature = inspect.signature(getattr(EventEmitter, name))
        assert 'args' not in signature.parameters, signature


def test_what_the_issue_names_is_there():
    for name in ('on once emit add_listener off remove_listener remove_all_listeners listeners listener_count '
                 'event_names wait_for events pipe buffer filter map suppress_events replay_events emit_nowait '
                 'emit_after emit_periodic add_hook remove_hook close shutdown batch_operations __aenter__ '
                 '__aexit__').split():
        assert callable(getattr(EventEmitter, name)), name


def test_help_reads_as_the_text(capsys):
    help(EventEmitter.on)
    text = capsys.readouterr().out
    for part in 'event_name', 'priority', 'EventPriority.NORMAL':
        assert part in text


def test_repr(emitter):
    assert 'EventEmitter' in repr(emitter)
    assert 'named' in repr(EventEmitter(name='named'))


def test_subclassing():
    class Service(EventEmitter):
        def __init__(self, value):
            super().__init__()
            self.value = value

        async def emit(self, event_name, data, metadata=None):
            return await super().emit(event_name, (self.value, data), metadata)
    service, seen = Service(5), []
    service.on('a')(lambda event: seen.append(event.data))
    asyncio.run(service.emit('a', 1))
    assert seen == [(5, 1)] and service.value == 5


def test_weak_references_to_emitters(collected):
    emitter = EventEmitter()
    ref = weakref.ref(emitter)
    del emitter
    collected()
    assert ref() is None


def test_not_initialised_or_twice():
    """An emitter whose __init__ was not run, or run again, is no crash."""
    class Lazy(EventEmitter):
        def __init__(self):
            pass
    lazy = Lazy()
    try:
        lazy.on('a')(lambda event: None)
        asyncio.run(lazy.emit('a', 1))
    except (EventError, RuntimeError, TypeError):
        pass
    emitter = EventEmitter()
    emitter.on('a')(lambda event: None)
    try:
        emitter.__init__()
    except (RuntimeError, TypeError):
        pass
    asyncio.run(emitter.emit('a', 1))


@pytest.mark.parametrize('arguments', [{'name': 5}, {'max_listeners': 'x'}, {'max_listeners': -1}, {'nonsense': 1}])
def test_arguments_of_an_emitter_that_are_none(arguments):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        EventEmitter(**arguments)


def test_event_exposed_types_are_final_enough():
    assert Event('a', 1).events[0].data == 1 and EventPriority.NORMAL.name == 'NORMAL'
