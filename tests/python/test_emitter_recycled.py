"""What is recycled: emissions, events and registrations are new each time to all who look at them; and what removing by
function finds."""
import asyncio
import functools
import gc
import os
import weakref

import pytest

from mtaio import _core
from mtaio.events import Event, EventEmitter, EventPriority, Listener
from mtaio.exceptions import EventError


def nothing(event):
    pass


async def emit_some(emitter, count=100):
    for _ in range(count):
        await emitter.emit('n', 1)


# --- Emissions

async def test_an_emission_that_somebody_got_hold_of_is_not_used_again(emitter):
    await emit_some(emitter)
    found = [o for o in gc.get_objects() if type(o) is _core.Emission]
    assert found, 'there are none that wait to be used again'
    new = [emitter.emit('n', 1) for _ in range(100)]
    assert not {id(e) for e in new} & {id(e) for e in found}
    for e in new:
        await e
    for e in found:   # they are over, whatever is tried
        with pytest.raises(RuntimeError, match='already awaited'):
            await e
        e.close()
        repr(e)


async def test_registrations_that_somebody_got_hold_of_are_not_used_again(emitter):
    def handle(event):
        pass

    for handler in handle, None:
        for _ in range(20):
            emitter.once('n')(handler or (lambda event: None))
            await emitter.emit('n', 1)
    found = [o for o in gc.get_objects() if type(o).__name__ == 'Registrar'
             or type(o).__name__ == 'Registration' and o.event_name is None]
    assert {type(o).__name__ for o in found} == {'Registrar', 'Registration'}
    calls = []
    for _ in range(40):
        emitter.once('n')(calls.append)
        await emitter.emit('n', 1)
    assert len(calls) == 40
    for o in found:   # of no use, whatever is tried
        repr(o)
        if type(o).__name__ == 'Registrar':
            with pytest.raises(TypeError):
                o(handle)
        else:
            assert (o.handler, o.event_name, o.active, o.cancel()) == (None, None, False, False)


async def test_references_to_an_emission_end_with_it(emitter):
    """A weak reference to one does not come alive by the next."""
    emission = emitter.emit('n', 1)
    ended = []
    ref = weakref.ref(emission, lambda ref: ended.append(ref()))
    await emission
    del emission
    assert ref() is None and ended == [None]
    again = emitter.emit('n', 1)
    assert ref() is None
    await again


def test_every_emission_that_is_forgotten_warns(emitter):
    """Also one that takes the place of another that was forgotten, or collected in a cycle."""
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match='never awaited'):
            emitter.emit('n', 1)
        with pytest.warns(RuntimeWarning, match='never awaited'):
            cycle = [emitter.emit('n', 1)]
            cycle.append(cycle)
            del cycle
            gc.collect()


async def test_collections_in_the_midst_of_emissions(emitter):
    """Emissions are known to the collector all their life, and it may run at any time in it."""
    class Data:
        def __del__(self):
            gc.collect()
    emitter.on('n', lambda event: gc.collect())
    emitter.on('late')(nothing)
    for _ in range(5):
        await emitter.emit('n', Data())
        await emitter.emit('nobody', Data(), {'metadata': Data()})
        emitter.emit('late', Data()).close()


async def test_data_of_an_event_that_nobody_wants_is_given_back(emitter):
    class Data:
        pass
    data, metadata = Data(), {'of': Data()}
    refs = weakref.ref(data), weakref.ref(metadata['of'])
    for _ in range(3):
        await emitter.emit('nobody', data, metadata)
    del data, metadata
    assert [ref() for ref in refs] == [None, None]


# --- Batches

async def test_recorded_events_are_new_and_whole(emitter):
    seen, kept = [], []
    emitter.on('*', lambda event: seen.extend(event.events))
    for _ in range(3):
        async with emitter.batch_operations():
            for n in range(200):
                await emitter.emit('a', n, {'n': n})
        assert [(e.name, e.data, e.metadata, e.propagate) for e in seen] == [
            ('a', n, {'n': n}, True) for n in range(200)]
        kept.append(seen[:])
        seen.clear()
    assert len({id(e) for events in kept for e in events}) == 600
    assert all(gc.is_tracked(e) for events in kept for e in events)


async def test_a_batch_of_equal_but_different_names(emitter):
    seen = []
    emitter.on('*', lambda event: seen.append((event.name, event.data)))
    names = ['user.login', ''.join(['user.', 'login'])]
    assert names[0] is not names[1]
    async with emitter.batch_operations():
        for n, name in enumerate(names * 2):
            await emitter.emit(name, n)
    assert seen == [('user.login', [0, 1, 2, 3])]


async def test_a_name_that_is_none_is_not_recorded(emitter):
    seen = []
    emitter.on('*', lambda event: seen.append(event.data))
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
        for name in '', 'a.*', 'a..b':
            with pytest.raises(EventError):
                await emitter.emit(name, 2)
        await emitter.emit('a', 3)
    assert seen == [[1, 3]]


# --- Events

async def test_events_are_tracked_once_they_outlive_their_emission(emitter):
    kept = []
    emitter.on('n', kept.append)
    await emit_some(emitter, 3)
    assert len({id(e) for e in kept}) == 3 and all(gc.is_tracked(e) for e in kept)


async def test_an_event_that_was_kept_leaves_nothing_to_the_next(emitter):
    """Neither what was set on it, nor who referred to it weakly."""
    class Data:
        pass
    kept, seen, ended = [], [], []
    emitter.on('n', kept.append)
    for _ in range(3):
        data = Data()
        await emitter.emit('n', data, {'a': data})
        event = kept.pop()
        event.extra, event.propagate = data, False
        refs = [weakref.ref(event, ended.append), weakref.ref(data)]
        del event, data
        assert [ref() for ref in refs] == [None, None] and ended.pop() is refs[0]
        emitter.once('n', lambda event: seen.append((event, vars(event), event.propagate, event.metadata)))
        await emitter.emit('n', 1)
        event, *rest = seen.pop()
        assert event.data == 1 and rest == [{}, True, {}] and refs[0]() is None
        assert gc.is_tracked(event)
        kept.clear()


@pytest.mark.parametrize('buffers', [False, True], ids=['', 'kept by a buffer'])
async def test_a_transform_that_gives_the_event_of_another_emission(emitter, buffers):
    """That one goes on undisturbed; behind the transform it is a copy, which is stopped for itself."""
    first, log, gate = EventEmitter(), [], asyncio.Event()
    other = emitter.map(lambda event: shown[0])
    shown = []
    kept = [first.buffer(9), emitter.buffer(9)] if buffers else []

    @first.on('n')
    async def rests(event):
        shown.append(event)
        await gate.wait()
        log.append(('first', event.propagate))
    first.on('n', lambda event: log.append('first again'))

    @other.on('n')
    async def stops(event):
        await asyncio.sleep(0)
        event.propagate = False
        log.append((event is shown[0], event == shown[0]))
    other.on('n', lambda event: log.append('not called'))
    task = asyncio.create_task(first.emit('n', 1))
    await asyncio.sleep(0)
    await emitter.emit('n', 2)
    gate.set()
    await task
    assert log == [(False, False), ('first', True), 'first again']
    del kept


def test_subclasses_of_events_are_given_back():
    class Sub(Event):
        pass
    refs = [weakref.ref(Sub('a', 1)) for _ in range(3)]
    assert [ref() for ref in refs] == [None] * 3


def test_a_deep_chain_of_events_is_given_back():
    event = Event('a', None)
    for _ in range(100000):
        event = Event('a', event)
    del event


# --- Registrations

def test_registrations_and_listeners(emitter):
    """What add_listener returns is a Listener; it shows, and ends, its own registration alone."""
    emitter.on('n', nothing)
    listener = emitter.add_listener('n', nothing)
    assert type(listener) is Listener and listener.active and listener.handler is nothing
    assert listener.event_name == 'n' and 'removed' not in repr(listener)
    assert listener.cancel() and not listener.cancel() and not listener.active
    assert 'removed' in repr(listener) and emitter.listener_count() == 1


def test_registrations_come_and_go(emitter):
    for _ in range(3):
        handlers = [lambda event: None for _ in range(50)]
        refs = [weakref.ref(handler) for handler in handlers]
        for handler in handlers:
            emitter.on('n', handler)
        assert emitter.listeners('n') == handlers
        for handler in handlers[::2]:
            assert emitter.remove_listener('n', handler) == 1
        assert emitter.listeners('n') == handlers[1::2]
        assert emitter.remove_all_listeners() == 25
        del handlers, handler
        assert [ref() for ref in refs] == [None] * 50


# --- Removing by function

class Equal:
    """Equal to others of its kind, as bound methods of one object are."""

    def __init__(self, value):
        self.value = value

    def __call__(self, event):
        pass

    def __eq__(self, other):
        return isinstance(other, Equal) and self.value == other.value

    __hash__ = None


class Owner:
    def method(self, event):
        pass


@pytest.mark.parametrize('others', [0, 100], ids=['the only name', 'one of many names'])
def test_removing_finds_every_registration(emitter, others):
    """Whether most of the emitter's listeners have the name or few; by any str that is equal; and nothing else."""
    for n in range(others):
        emitter.on(f'other.{n}', nothing)
    owner, partial = Owner(), functools.partial(nothing)
    emitter.pipe(EventEmitter(), 'a.b')
    for name in 'a.b', 'a.*', 'a':
        emitter.on(name, nothing)
        emitter.once(name, nothing)
        emitter.on(name, EventPriority.MONITOR, nothing)
        emitter.on(name, owner.method)
        emitter.on(name, owner.method, weak=True)
        emitter.on(name, Equal(1))
        emitter.on(name, Equal(2))
        emitter.on(name, partial)
    name = ''.join(['a', '.b'])
    assert emitter.remove_listener(name, Owner().method) == 0
    assert emitter.remove_listener(name, functools.partial(nothing)) == 0
    assert emitter.remove_listener(name, nothing) == 3
    assert emitter.remove_listener(name, nothing) == 0
    assert emitter.remove_listener(name, owner.method) == 2
    assert emitter.remove_listener(name, Equal(2)) == 1
    assert emitter.listeners(name) == [Equal(1), partial]
    assert emitter.listener_count('a.*') == emitter.listener_count('a') == 8
    assert emitter.listener_count() == others + 2 + 16 + 1   # the pipe


def test_removing_by_what_compares_itself_with_anything(emitter):
    class Everything:
        def __eq__(self, other):
            return True
    emitter.on('n', nothing)
    emitter.on('n', print)
    assert emitter.remove_listener('n', Everything()) == 2


def test_a_comparison_that_removes(emitter):
    """What is compared may change the emitter; what is gone then is not counted."""
    class Removing(Equal):
        def __eq__(self, other):
            emitter.remove_all_listeners()
            return True
    emitter.on('n', Removing(1))
    emitter.on('n', Removing(2))
    assert emitter.remove_listener('n', Removing(3)) in (0, 1)
    assert emitter.listener_count() == 0


def test_a_comparison_that_raises(emitter):
    class Raising(Equal):
        def __eq__(self, other):
            raise KeyError
    emitter.on('n', Raising(1))
    with pytest.raises(KeyError):
        emitter.remove_listener('n', Raising(1))
    assert emitter.listener_count() == 1


# --- What is said at once

@pytest.mark.parametrize('register', ['on', 'once'])
def test_a_decorator_that_would_never_register_is_refused_at_once(emitter, register):
    """@emitter.on without a name, or with something else for a priority, is no decorator."""
    on = getattr(emitter, register)
    for arguments in (nothing,), (5,), (None, EventPriority.HIGH), ('n', 3), ('n', 'x'), ('n', EventPriority.HIGH, 3):
        with pytest.raises(TypeError):
            on(*arguments)
    with pytest.raises(TypeError, match='a name must be a str, not function'):
        on(nothing)
    with pytest.raises(TypeError, match='priority must be an EventPriority, not int'):
        on('n', priority=3)
    assert emitter.listener_count() == 0


def test_a_limit_of_listeners_below_none():
    with pytest.raises(ValueError, match='max_listeners must not be negative'):
        EventEmitter(max_listeners=-1)


async def test_who_waits_is_named(emitter):
    """listeners() shows wait_for by its name, as do the errors of its check."""
    def check(event):
        raise ValueError
    task = asyncio.create_task(emitter.wait_for('n', check=check))
    await asyncio.sleep(0)
    assert repr(emitter.listeners('n')) == "[<wait_for('n')>]"
    with pytest.raises(EventError, match=r"<wait_for\('n'\)>: ValueError"):
        await emitter.emit('n', 1)
    task.cancel()


# --- Futures

def test_a_loop_that_makes_its_own_futures():
    """A loop's create_future is used, unless it is asyncio's own."""
    class Loop(asyncio.SelectorEventLoop):
        made = 0

        def create_future(self):
            Loop.made += 1
            return super().create_future()

    async def main():
        emitter = EventEmitter()
        task = asyncio.create_task(emitter.wait_for('n'))
        await asyncio.sleep(0)
        made = Loop.made
        await emitter.emit('n', 1)
        return made, (await task).data
    for kind, wanted in ((Loop, 1), (asyncio.SelectorEventLoop, 0), (Loop, 2)):
        loop = kind()
        before = Loop.made
        made, data = loop.run_until_complete(main())
        loop.close()
        assert data == 1 and (made > before) == (kind is Loop)


@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
async def test_no_loop_runs_in_a_forked_child(emitter):
    """Though its thread is in the midst of a task."""
    task = asyncio.create_task(emitter.wait_for('n'))
    await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            emitter.wait_for('n').send(None)
        except RuntimeError as error:
            status = 0 if 'no running event loop' in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    await emitter.emit('n', 1)
    assert (await task).data == 1


def test_loops_that_take_turns_in_a_thread(emitter):
    """Who waits in one loop is woken by an event in another of the same thread."""
    async def begin():
        task = asyncio.create_task(emitter.wait_for('n'))
        await asyncio.sleep(0)
        return task
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    task = one.run_until_complete(begin())
    two.run_until_complete(emitter.emit('n', 1))
    assert one.run_until_complete(task).data == 1
    one.close()
    two.close()


async def test_who_is_cancelled_and_woken_at_once(emitter):
    """The future is done already: by the cancellation."""
    task = asyncio.create_task(emitter.wait_for('n'))
    await asyncio.sleep(0)
    task.cancel()
    await emitter.emit('n', 1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert emitter.listener_count() == 0
