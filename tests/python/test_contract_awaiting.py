"""What `emit` returns, and how it drives the handlers: in the caller's task, without a task or future of its own."""
import asyncio
import collections.abc
import contextvars
import gc
import inspect
import sys
import traceback
import types
import warnings
import weakref

import pytest

from mtaio.events import EventEmitter, EventPriority
from mtaio.exceptions import EventEmitError, EventHandlerError


def step(awaitable):
    """Resumes once by hand; returns what it yields, or raises StopIteration."""
    return awaitable.send(None)


# --- The awaitable

async def test_it_is_a_coroutine_in_every_visible_way(emitter):
    pending = emitter.emit('a', 1)
    assert inspect.isawaitable(pending)
    assert asyncio.iscoroutine(pending)
    assert isinstance(pending, collections.abc.Coroutine) and isinstance(pending, collections.abc.Awaitable)
    for name in 'send', 'throw', 'close', '__await__', 'cr_await', 'cr_code', 'cr_frame', 'cr_running':
        hasattr(pending, name)
    assert 'emission' in repr(pending) and "'a'" in repr(pending)
    await pending


def test_asyncio_run(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        seen.append(event.data)
    assert asyncio.run(emitter.emit('a', 1)) is None
    assert seen == [1]


async def test_wherever_a_coroutine_goes(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        seen.append(event.data)
    task = asyncio.create_task(emitter.emit('a', 1), name='named')
    assert isinstance(task, asyncio.Task) and repr(task)
    task.get_stack(), task.get_coro()
    await task
    await asyncio.ensure_future(emitter.emit('a', 2))
    await asyncio.gather(emitter.emit('a', 3), emitter.emit('a', 4))
    await asyncio.wait_for(emitter.emit('a', 5), 60)
    await asyncio.wait([asyncio.create_task(emitter.emit('a', 6))])
    await asyncio.shield(emitter.emit('a', 7))
    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as group:
            group.create_task(emitter.emit('a', 8))
        async with asyncio.timeout(1):
            await emitter.emit('a', 9)
    assert sorted(seen) == list(range(1, 8 if sys.version_info < (3, 11) else 10))


async def test_run_coroutine_threadsafe(emitter):
    seen, loop = [], asyncio.get_running_loop()

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop() is loop)
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(emitter.emit('a', 1), loop).result(10))
    assert seen == [True]


async def test_nothing_starts_before_it_is_awaited(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(event.data))
    pending = emitter.emit('a', 1)
    await asyncio.sleep(0)
    assert seen == []
    emitter.on('a')(lambda event: seen.append('registered meanwhile'))
    await pending
    assert seen == [1, 'registered meanwhile']


async def test_errors_of_the_emission_are_raised_when_awaited(emitter):
    pending = emitter.emit('', 1)
    with pytest.raises(EventEmitError):
        await pending


def test_a_forgotten_await_warns(emitter):
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        emitter.emit('a', 1)
    assert [w.category for w in caught] == [RuntimeWarning]
    assert 'never awaited' in str(caught[0].message) and 'emit' in str(caught[0].message)


def test_a_forgotten_await_made_an_error_is_unraisable(emitter, monkeypatch):
    found = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda args: found.append(args.exc_type))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        emitter.emit('a', 1)
        gc.collect()
    assert found == [RuntimeWarning]


def test_closed_before_it_began_does_not_warn(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        emitter.emit('a', 1).close()
        gc.collect()
    assert caught == [] == seen


def test_thrown_into_before_it_began(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(1))
    pending = emitter.emit('a', 1)
    with pytest.raises(KeyError, match='x'):
        pending.throw(KeyError('x'))
    with pytest.raises(RuntimeError):
        step(pending)
    assert seen == []


async def test_awaited_twice_is_an_error(emitter):
    pending = emitter.emit('a', 1)
    await pending
    with pytest.raises(RuntimeError, match='reuse|already'):
        await pending
    with pytest.raises(RuntimeError):
        step(pending)
    pending.close()


async def test_awaited_by_two_tasks_at_once_is_an_error(emitter):
    gate = asyncio.Event()

    @emitter.on('a')
    async def handler(event):
        await gate.wait()
    pending = emitter.emit('a', 1)

    async def wait():
        await pending
    first = asyncio.create_task(wait())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await pending
    gate.set()
    await first


def test_resumed_from_within_itself_is_an_error(emitter):
    caught = []

    @emitter.on('a')
    def handler(event):
        for resume in lambda: pending.send(None), lambda: pending.throw(KeyError), pending.close:
            try:
                resume()
            except (ValueError, RuntimeError) as error:
                caught.append(error)
    pending = emitter.emit('a', 1)
    with pytest.raises(StopIteration):
        step(pending)
    assert len(caught) == 3


def test_first_send_must_be_none(emitter):
    pending = emitter.emit('a', 1)
    with pytest.raises(TypeError):
        pending.send(5)
    pending.close()


# --- Driving by hand

@types.coroutine
def suspend(value):
    return (yield value)


def test_values_go_through_in_both_directions(emitter):
    got = []

    @emitter.on('a')
    async def handler(event):
        got.append(await suspend('one'))
        got.append(await suspend('two'))

    @emitter.on('a')
    async def second(event):
        got.append(await suspend('three'))
    pending = emitter.emit('a', 1)
    assert step(pending) == 'one'
    assert pending.send('A') == 'two'
    assert pending.send('B') == 'three'
    with pytest.raises(StopIteration) as stop:
        pending.send('C')
    assert stop.value.value is None and got == ['A', 'B', 'C']


def test_thrown_into_the_running_handler(emitter):
    got = []

    @emitter.on('a')
    async def handler(event):
        try:
            await suspend(1)
        except KeyError as error:
            got.append(error.args)
            await suspend(2)
        got.append('on')
    pending = emitter.emit('a', 1)
    step(pending)
    assert pending.throw(KeyError('k')) == 2
    with pytest.raises(StopIteration):
        step(pending)
    assert got == [('k',), 'on']


def test_closing_closes_the_running_handler(emitter):
    got = []

    @emitter.on('a')
    async def handler(event):
        try:
            await suspend(1)
        finally:
            got.append('closed')
    emitter.on('a')(lambda event: got.append('not called'))
    emitter.on('a', EventPriority.MONITOR)(lambda event: got.append('not called'))
    pending = emitter.emit('a', 1)
    step(pending)
    pending.close()
    assert got == ['closed']
    pending.close()
    with pytest.raises(RuntimeError):
        step(pending)


def test_a_handler_that_ignores_closing(emitter):
    @emitter.on('a')
    async def handler(event):
        while True:
            try:
                await suspend(1)
            except GeneratorExit:
                await suspend(2)
    pending = emitter.emit('a', 1)
    step(pending)
    with pytest.raises(RuntimeError, match='ignored GeneratorExit'):
        pending.close()
    with pytest.raises((StopIteration, RuntimeError, GeneratorExit)):
        pending.throw(GeneratorExit)


def test_dropping_a_suspended_emission_closes_its_handler(emitter, collected):
    got = []

    @emitter.on('a')
    async def handler(event):
        try:
            await suspend(1)
        finally:
            got.append('closed')
    pending = emitter.emit('a', 1)
    step(pending)
    del pending
    collected()
    assert got == ['closed']
    emitter.remove_all_listeners()
    with pytest.raises(StopIteration):
        step(emitter.emit('a', 1))


def test_the_old_form_of_throw(emitter):
    @emitter.on('a')
    async def handler(event):
        await suspend(1)
    pending = emitter.emit('a', 1)
    step(pending)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        with pytest.raises((EventHandlerError, KeyError)) as caught:
            pending.throw(KeyError, KeyError('k'), None)
    assert isinstance(caught.value, KeyError) or isinstance(caught.value.__cause__, KeyError)


# --- In the caller's task

async def test_same_task_and_same_context(emitter):
    variable = contextvars.ContextVar('variable', default=0)
    seen = []

    @emitter.on('a')
    async def first(event):
        seen.append((asyncio.current_task(), variable.get()))
        variable.set(2)
        await asyncio.sleep(0)

    @emitter.on('a')
    def second(event):
        seen.append((asyncio.current_task(), variable.get()))
    variable.set(1)
    await emitter.emit('a', 1)
    task = asyncio.current_task()
    assert seen == [(task, 1), (task, 2)] and variable.get() == 2


async def test_never_suspends_where_no_handler_does(emitter):
    """An emission whose handlers never suspend never suspends either, and makes no Task and no Future."""
    order, made = [], []
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, **options: made.append('task') or asyncio.Task(coro, loop=loop, **options))
    loop.call_soon(order.append, 'loop ran')

    @emitter.on('a')
    async def handler(event):
        order.append('handler')

    async def outer(event):
        await handler(event)
    emitter.on('a')(outer)
    emitter.on('a')(lambda event: order.append('plain'))
    await emitter.emit('a', 1)
    loop.set_task_factory(None)
    assert order == ['handler', 'handler', 'plain'] and made == []


def test_works_without_any_loop(emitter):
    @emitter.on('a')
    async def handler(event):
        pass
    with pytest.raises(StopIteration):
        step(emitter.emit('a', 1))


async def test_cancellation_reaches_the_running_handler(emitter):
    """Hazard 48."""
    seen = []

    @emitter.on('a')
    async def handler(event):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append('cancelled')
            raise
    emitter.on('a')(lambda event: seen.append('not called'))
    emitter.on('a', EventPriority.MONITOR)(lambda event: seen.append('not called'))
    task = asyncio.create_task(emitter.emit('a', 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ['cancelled'] and task.cancelled()


async def test_a_handler_that_swallows_its_cancellation(emitter):
    seen = []

    @emitter.on('a')
    async def handler(event):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append('swallowed')
    emitter.on('a')(lambda event: seen.append('next'))
    task = asyncio.create_task(emitter.emit('a', 1))
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert seen == ['swallowed', 'next'] or task.cancelled()


async def test_wait_for_a_slow_handler(emitter):
    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(100)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(emitter.emit('a', 1), 0.01)
    emitter.off('a', handler)
    await emitter.emit('a', 1)


async def test_cancelled_before_it_began(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append(1))
    task = asyncio.create_task(emitter.emit('a', 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == []


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize('suspending', [False, True])
@pytest.mark.parametrize('index', range(3))
def test_base_exceptions_pass_through_at_once(emitter, error, suspending, index):
    """Hazard 47: at each handler; the emitter is usable afterwards."""
    seen, raising = [], True

    def add(i):
        async def slow(event):
            seen.append(i)
            await suspend(i)
            if raising and i == index:
                raise error

        async def quick(event):
            seen.append(i)
            if raising and i == index:
                raise error
        emitter.on('a')(slow if suspending else quick)
    for i in range(3):
        add(i)
    emitter.on('a', EventPriority.MONITOR)(lambda event: seen.append('monitor'))

    def drive():
        pending = emitter.emit('a', 1)
        with pytest.raises((error, StopIteration)) as caught:
            while True:
                step(pending)
        return caught.type
    assert drive() is error
    assert seen == list(range(index + 1))
    raising = False
    seen.clear()
    assert drive() is StopIteration
    assert seen == [0, 1, 2, 'monitor']


async def test_a_base_exception_from_behind_a_filter(emitter):
    seen = []

    @emitter.filter(lambda event: True).on('a')
    async def handler(event):
        raise asyncio.CancelledError
    emitter.filter(lambda event: True).on('a', EventPriority.LOW)(lambda event: seen.append(1))
    emitter.on('a', EventPriority.MONITOR)(lambda event: seen.append('monitor'))
    with pytest.raises(asyncio.CancelledError):
        await emitter.emit('a', 1)
    assert 'monitor' not in seen


async def test_a_base_exception_hides_no_failure_before_it(emitter):
    emitter.on('a')(lambda event: 1 / 0)

    @emitter.on('a')
    async def handler(event):
        raise asyncio.CancelledError('mine')
    with pytest.raises(asyncio.CancelledError, match='mine'):
        await emitter.emit('a', 1)


async def test_tracebacks_show_the_frames_of_the_handlers(emitter):
    def helper():
        raise ValueError('deep')

    @emitter.on('a')
    async def first(event):
        helper()

    @emitter.on('a')
    async def second(event):
        await asyncio.sleep(0)
        helper()
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', 1)
    for name, (_, error) in zip(('first', 'second'), caught.value.errors):
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[-2:] == [name, 'helper']
    text = ''.join(traceback.format_exception(None, caught.value, caught.value.__traceback__))
    assert 'deep' in text and 'helper' in text


async def test_the_stack_of_a_suspended_task_can_be_shown(emitter, capsys):
    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        asyncio.current_task().print_stack()

    async def main():
        await emitter.emit('a', 1)
    await asyncio.create_task(main())
    task = asyncio.create_task(emitter.emit('a', 1))
    await asyncio.sleep(0)
    task.print_stack()
    repr(task)
    await task


async def test_a_suspended_emission_holds_what_it_needs_only(emitter, collected):
    class Data:
        pass
    data, gate = Data(), asyncio.Event()

    @emitter.on('a')
    async def handler(event):
        await gate.wait()
    task = asyncio.create_task(emitter.emit('a', data))
    await asyncio.sleep(0)
    ref = weakref.ref(data)
    del data
    collected()
    assert ref() is not None
    gate.set()
    await task
    del task
    collected()
    assert ref() is None


async def test_closing_the_emitter_under_a_suspended_handler(emitter):
    """The emission is ended; the handler that was running gets to know."""
    gate, seen = asyncio.Event(), []

    @emitter.on('a')
    async def handler(event):
        try:
            await gate.wait()
            seen.append('went on')
        except BaseException as error:
            seen.append(type(error))
            raise
    emitter.on('a')(lambda event: seen.append('not called'))
    task = asyncio.create_task(emitter.emit('a', 1))
    await asyncio.sleep(0)
    result = emitter.close()
    if result is not None:
        await result
    gate.set()
    with pytest.raises(EventEmitError):
        await task
    assert seen in ([], ['went on'])


async def test_a_handler_awaiting_another_emission(emitter):
    gate, seen = asyncio.Event(), []

    @emitter.on('inner')
    async def inner(event):
        await gate.wait()
        seen.append('inner')

    @emitter.on('outer')
    async def outer(event):
        await emitter.emit('inner', 1)
        seen.append('outer')
    task = asyncio.create_task(emitter.emit('outer', 1))
    await asyncio.sleep(0)
    gate.set()
    await task
    assert seen == ['inner', 'outer']


async def test_many_emissions_suspended_at_once(emitter):
    gate, seen = asyncio.Event(), []

    @emitter.on('a')
    async def handler(event):
        await gate.wait()
        seen.append(event.data)
    emitter.on('a')(lambda event: seen.append(event.data))
    tasks = [asyncio.create_task(emitter.emit('a', i)) for i in range(1000)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert sorted(seen) == sorted([*range(1000), *range(1000)])


async def test_an_emission_from_a_destructor(emitter, collected):
    seen = []
    emitter.on('gone')(lambda event: seen.append(event.data))

    class Thing:
        def __del__(self):
            try:
                step(emitter.emit('gone', 'thing'))
            except StopIteration:
                pass
    emitter.once('a')(lambda event, thing=Thing(): None)
    await emitter.emit('a', 1)
    collected()
    assert seen == ['thing']
