"""Awaiting channels: what publish and receive return is a coroutine in every visible way, nothing suspends without need,
and neither cancelling nor a time limit loses a message."""
import asyncio
import collections.abc
import contextvars
import gc
import inspect
import math
import sys
import warnings
import weakref

import pytest

from mtaio.events import Channel, Message
from mtaio.exceptions import ChannelClosedError, ChannelEmptyError, ChannelError, ChannelFullError, ChannelTimeoutError


async def waiting(*coroutines):
    """Tasks that have begun to wait."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks if len(tasks) > 1 else tasks[0]


def drive(coroutine):
    """What it returns, without any loop: it must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError('it suspended')


# --- Coroutines

OPERATIONS = {'publish': lambda c, s: c.publish(1), 'broadcast': lambda c, s: c.broadcast(1),
              'publish_many': lambda c, s: c.publish_many([]), 'subscribe': lambda c, s: c.subscribe(),
              'receive': lambda c, s: s.receive(), 'receive_many': lambda c, s: s.receive_many(),
              '__anext__': lambda c, s: s.__anext__(), 'unsubscribe': lambda c, s: c.unsubscribe(s),
              'close': lambda c, s: c.close()}


@pytest.mark.parametrize('name', OPERATIONS)
def test_coroutines_to_all_who_look(name):
    channel = Channel()
    operation = OPERATIONS[name](channel, channel.subscribe_nowait())
    assert isinstance(operation, collections.abc.Coroutine) and isinstance(operation, collections.abc.Awaitable)
    assert asyncio.iscoroutine(operation) and inspect.isawaitable(operation)
    assert operation.__name__ == name and operation.__qualname__.endswith(f'.{name}')
    assert operation.__qualname__ in repr(operation)
    assert operation.cr_running is False and operation.cr_await is None and operation.cr_frame is None
    operation.close()


def test_never_suspends_where_there_is_no_need():
    """No task, no future, and no loop either."""
    channel = Channel(buffer_size=3)
    subscriber = drive(channel.subscribe())
    assert drive(channel.publish(1, 'a', {'k': 1})) == 1
    assert drive(channel.publish_many([Message(2), Message(3)])) == 2
    assert drive(subscriber.receive()).data == 1
    assert drive(subscriber.receive(timeout=1)).data == 2
    assert [m.data for m in drive(subscriber.receive_many())] == [3]
    assert drive(channel.unsubscribe(subscriber)) is None and drive(channel.close()) is None


async def test_the_result_may_be_anything():
    """StopIteration takes a tuple for its arguments; a message is not one, but what it carries may be."""
    channel = Channel()
    subscriber = await channel.subscribe()
    for data in (1, 2), (), None, StopIteration(1), ValueError('x'):
        await channel.publish(data)
        assert (await subscriber.receive()).data is data


def test_nothing_happens_before_it_is_awaited():
    channel = Channel()
    subscriber = channel.subscribe_nowait()
    for operation in channel.publish(1), channel.subscribe(), channel.publish_many([Message(1)]), channel.broadcast(1):
        operation.close()
    assert channel.subscriber_count == 1 and channel.stats.published == 0
    channel.publish_nowait(1)
    subscriber.receive().close()
    assert subscriber.receive_nowait().data == 1


@pytest.mark.parametrize('make, name', [
    (lambda c, s: c.publish(1), 'Channel.publish'), (lambda c, s: c.subscribe(), 'Channel.subscribe'),
    (lambda c, s: s.receive(), 'Subscriber.receive'), (lambda c, s: s.receive_many(), 'Subscriber.receive_many')])
def test_a_forgotten_await_warns(make, name):
    channel = Channel()
    subscriber = channel.subscribe_nowait()
    with pytest.warns(RuntimeWarning, match=f"coroutine '{name}' was never awaited"):
        make(channel, subscriber)
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        make(channel, subscriber).close()


def test_a_forgotten_await_where_warnings_are_errors(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda unraisable: seen.append(unraisable.exc_type))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        Channel().publish(1)
        gc.collect()
    assert seen == [RuntimeWarning]


def test_awaited_once():
    channel = Channel()
    operation = channel.publish(1)
    assert drive(operation) == 0
    for again in operation.send, operation.throw:
        with pytest.raises(RuntimeError, match='cannot reuse already awaited coroutine'):
            again(KeyError('x') if again == operation.throw else None)
    operation.close()


def test_send_and_throw_before_it_has_begun():
    channel = Channel()
    operation = channel.publish(1)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        operation.send(1)
    with pytest.raises(KeyError):
        operation.throw(KeyError('x'))
    with pytest.raises(RuntimeError):
        operation.send(None)
    assert channel.stats.published == 0


@pytest.mark.parametrize('arguments, error', [
    ((ValueError,), ValueError), ((ValueError('x'),), ValueError), ((ValueError, 'x'), ValueError),
    ((ValueError, ValueError('x'), None), ValueError), ((1,), TypeError), ((), TypeError), ((1, 2, 3, 4), TypeError),
    ((ValueError, None, 3), TypeError), ((ValueError('x'), 'y'), TypeError)])
def test_throw_takes_what_generators_take(arguments, error):
    with pytest.raises(error):
        Channel().publish(1).throw(*arguments)


def test_throw_keeps_the_traceback():
    try:
        raise ValueError('x')
    except ValueError as e:
        thrown = e
    with pytest.raises(ValueError) as caught:
        Channel().publish(1).throw(thrown)
    assert caught.value is thrown and any(f.name == 'test_throw_keeps_the_traceback' for f in caught.traceback)


async def test_wherever_a_coroutine_works():
    channel = Channel()
    subscriber = await channel.subscribe()
    assert await asyncio.create_task(channel.publish(1), name='p') == 1
    assert await asyncio.gather(channel.publish(2), channel.publish(3)) == [1, 1]
    assert await asyncio.wait_for(channel.publish(4), 1) == 1
    assert await asyncio.shield(channel.publish(5)) == 1
    assert await asyncio.ensure_future(channel.publish(6)) == 1
    got = await asyncio.gather(*(asyncio.wait_for(subscriber.receive(), 5) for _ in range(6)))
    assert [m.data for m in got] == [1, 2, 3, 4, 5, 6]
    task = await waiting(subscriber.receive())
    assert 'Subscriber.receive' in repr(task) and task.get_stack() == []
    await channel.publish(7)
    assert (await task).data == 7


def test_asyncio_run():
    channel = Channel()
    assert asyncio.run(channel.publish(1)) == 0


async def test_what_is_seen_while_it_waits():
    channel = Channel()
    operation = (await channel.subscribe()).receive()
    task = await waiting(operation)
    assert asyncio.isfuture(operation.cr_await) and operation.cr_suspended and not operation.cr_running
    task.cancel()


async def test_the_task_and_its_context_stay():
    """It waits in the task that awaits it."""
    variable = contextvars.ContextVar('variable')
    channel = Channel()
    subscriber = await channel.subscribe()

    async def receive():
        variable.set(1)
        task = asyncio.current_task()
        await subscriber.receive()
        assert variable.get() == 1 and asyncio.current_task() is task
    task = await waiting(receive())
    await channel.publish(1)
    await task


async def test_await_outside_of_asyncio():
    """Where it has to wait it needs a loop, and says so; nothing is left behind."""
    channel = Channel(buffer_size=1)
    subscriber = await channel.subscribe()

    def drive_in_thread(make):
        with pytest.raises(RuntimeError, match='no running event loop'):
            make().send(None)
    await asyncio.to_thread(drive_in_thread, subscriber.receive)
    await channel.publish(1)
    await asyncio.to_thread(drive_in_thread, lambda: channel.publish(2))
    assert (await subscriber.receive()).data == 1
    with pytest.raises(ChannelEmptyError):
        subscriber.receive_nowait()


async def test_driven_by_hand():
    """Sent to though nothing has happened: it goes on waiting on the same future."""
    channel = Channel()
    subscriber = await channel.subscribe()
    operation = subscriber.receive()
    future = operation.send(None)
    assert operation.send(None) is future and future._asyncio_future_blocking
    await channel.publish(1)
    assert future.done() and drive(operation).data == 1


async def test_not_twice_at_once():
    """Awaited a second time while it waits."""
    channel = Channel()
    operation = (await channel.subscribe()).receive()
    task = await waiting(operation)
    with pytest.raises(RuntimeError, match='coroutine is being awaited already'):
        await operation
    await channel.publish(1)
    assert (await task).data == 1


def test_while_it_is_running():
    """What is dropped by a publish runs code that sends to that very publish."""
    channel = Channel()
    subscriber = channel.subscribe_nowait(buffer_size=1, overflow='drop_oldest')
    seen = []

    class Dropped:
        def __del__(self):
            for call in (lambda: operation.send(None)), (lambda: operation.throw(KeyError)), operation.close:
                try:
                    call()
                except ValueError as error:
                    seen.append(str(error))
    channel.publish_nowait(Dropped())
    operation = channel.publish(2)
    assert drive(operation) == 1
    assert seen == ['coroutine already executing'] * 3
    assert subscriber.receive_nowait().data == 2


# --- Waiting receivers

async def test_receive_waits():
    channel = Channel()
    subscriber = await channel.subscribe()
    task = await waiting(subscriber.receive())
    await channel.publish(1)
    assert not task.done()
    assert (await task).data == 1


async def test_several_wait_for_one_subscriber():
    """Each message goes to one of them, in the order in which they came."""
    channel = Channel()
    subscriber = await channel.subscribe()
    tasks = await waiting(*(subscriber.receive() for _ in range(5)))
    for i in range(5):
        await channel.publish(i)
    assert [m.data for m in await asyncio.gather(*tasks)] == [0, 1, 2, 3, 4]


async def test_one_is_woken_for_each_message():
    channel = Channel()
    subscriber = await channel.subscribe()
    tasks = await waiting(*(subscriber.receive() for _ in range(10)))
    await channel.publish_many([Message(i) for i in range(4)])
    for _ in range(3):
        await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True] * 4 + [False] * 6
    await channel.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in results] == [Message] * 4 + [ChannelClosedError] * 6


async def test_who_comes_first_takes_it():
    """A receive that finds a message takes it, though another was just woken for it; that one waits on, in its place."""
    channel = Channel()
    subscriber = await channel.subscribe()
    first, second = await waiting(subscriber.receive(), subscriber.receive())
    await channel.publish(1)
    assert subscriber.receive_nowait().data == 1
    for _ in range(3):
        await asyncio.sleep(0)
    assert not first.done()
    await channel.publish(2)
    assert (await first).data == 2 and not second.done()
    await channel.publish(3)
    assert (await second).data == 3


async def test_a_cancelled_receive_takes_nothing():
    """Hazard 48."""
    channel = Channel()
    subscriber = await channel.subscribe()
    task = await waiting(subscriber.receive())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await channel.publish(1)
    assert subscriber.receive_nowait().data == 1


async def test_cancelled_when_it_has_been_woken():
    """Hazard 48: the message stays, and the next receiver is woken for it."""
    channel = Channel()
    subscriber = await channel.subscribe()
    first, second = await waiting(subscriber.receive(), subscriber.receive())
    await channel.publish(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await asyncio.wait_for(second, 60)).data == 1


@pytest.mark.parametrize('steps', range(6))
async def test_cancelled_at_every_moment(steps):
    """Hazard 48: each message is received by somebody, or still there."""
    channel = Channel()
    subscriber = await channel.subscribe()
    got = []

    async def receive():
        got.append((await subscriber.receive()).data)
    tasks = [asyncio.create_task(receive()) for _ in range(4)]
    published = 0
    for step in range(6):
        if step == steps:
            tasks[0].cancel()
            tasks[2].cancel()
        if step % 2 and published < 2:
            await channel.publish(published)
            published += 1
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    await channel.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    got += [m.data async for m in subscriber]
    assert sorted(got) == [0, 1]


async def test_wait_for_loses_nothing():
    channel = Channel()
    subscriber = await channel.subscribe()
    got = []

    async def consume():
        while len(got) < 200:
            try:
                got.append((await asyncio.wait_for(subscriber.receive(), 0.0001)).data)
            except asyncio.TimeoutError:
                pass
    task = asyncio.create_task(consume())
    for i in range(200):
        await channel.publish(i)
        await asyncio.sleep(0.0001 * (i % 4))
    await task
    assert got == list(range(200))


async def test_time_limits():
    channel = Channel()
    subscriber = await channel.subscribe()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(ChannelTimeoutError):
        await subscriber.receive(timeout=0.05)
    assert 0.04 < loop.time() - begin < 5
    task = await waiting(subscriber.receive(timeout=60))
    await channel.publish(1)
    assert (await task).data == 1


@pytest.mark.parametrize('timeout', [0, -1, 0.0, -math.inf, False, 1e-300])
async def test_no_time(timeout):
    """Hazard 37: what has passed already; a message that is there is received all the same."""
    channel = Channel()
    subscriber = await channel.subscribe()
    with pytest.raises(ChannelTimeoutError):
        await subscriber.receive(timeout)
    with pytest.raises(ChannelTimeoutError):
        await subscriber.receive_many(timeout=timeout)
    with pytest.raises(ChannelTimeoutError):
        subscriber.receive_blocking(timeout)
    await channel.publish(1)
    assert (await subscriber.receive(timeout)).data == 1


@pytest.mark.parametrize('timeout', [None, math.inf, 1e300, 2**63 - 1, 2**62, 9.2e9, 10**8])
async def test_endless_time(timeout):
    """Hazard 37."""
    channel = Channel()
    subscriber = await channel.subscribe()
    task = await waiting(subscriber.receive(timeout))
    await channel.publish(1)
    assert (await task).data == 1


@pytest.mark.parametrize('timeout, error', [(math.nan, ValueError), ('1', TypeError), ([], TypeError), (1j, TypeError)])
async def test_refused_times(timeout, error):
    """Hazard 37."""
    subscriber = await Channel().subscribe()
    for receive in subscriber.receive, subscriber.receive_blocking, lambda t: subscriber.receive_many(1, t):
        with pytest.raises(error):
            receive(timeout)


async def test_a_time_limit_that_meets_a_message():
    channel = Channel()
    subscriber = await channel.subscribe()
    got = []
    for i in range(50):
        task = asyncio.create_task(subscriber.receive(timeout=0.001))
        await asyncio.sleep(0.0008 + 0.00001 * i)
        await channel.publish(i)
        try:
            got.append((await task).data)
        except ChannelTimeoutError:
            got.append(subscriber.receive_nowait().data)
    assert got == list(range(50))


async def test_a_timer_ends_with_its_receive():
    """Nothing of it is left in the loop for as long as the limit was."""
    channel = Channel()
    subscriber = await channel.subscribe()
    task = await waiting(subscriber.receive(timeout=3600))
    await channel.publish(1)
    await task
    gone = weakref.ref(subscriber)
    del subscriber, task
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_closing_wakes_all_who_wait():
    channel = Channel()
    subscriber, other = await channel.subscribe(), await channel.subscribe()
    tasks = await waiting(subscriber.receive(), subscriber.receive(timeout=60), subscriber.receive_many(),
                          subscriber.__anext__(), other.receive())
    await channel.close()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(r) for r in results] == [ChannelClosedError] * 3 + [StopAsyncIteration, ChannelClosedError]


async def test_unsubscribing_wakes_all_who_wait():
    channel = Channel()
    subscriber = await channel.subscribe()
    tasks = await waiting(subscriber.receive(), subscriber.receive())
    await subscriber.unsubscribe()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(r) for r in results] == [ChannelClosedError] * 2


async def test_a_task_that_is_dropped_while_it_waits():
    """Its place goes to the next."""
    channel = Channel()
    subscriber = await channel.subscribe()
    first, second = subscriber.receive(), subscriber.receive()
    first.send(None)
    task = await waiting(second)
    del first
    await channel.publish(1)
    assert (await asyncio.wait_for(task, 60)).data == 1


# --- Waiting publishers

async def full_channel():
    channel = Channel(buffer_size=1)
    subscriber = await channel.subscribe()
    await channel.publish('full')
    return channel, subscriber


async def test_publishers_wait_in_line():
    channel, subscriber = await full_channel()
    tasks = await waiting(*(channel.publish(i) for i in range(3)))
    with pytest.raises(ChannelFullError):
        channel.publish_nowait('late')
    got = [(await subscriber.receive()).data for _ in range(4)]
    assert got == ['full', 0, 1, 2] and await asyncio.gather(*tasks) == [1] * 3


async def test_a_cancelled_publish_reaches_nobody():
    """Hazard 48; those behind it move up."""
    channel, subscriber = await full_channel()
    first, second = await waiting(channel.publish(1), channel.publish(2))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await subscriber.receive()).data == 'full'
    assert await second == 1 and (await subscriber.receive()).data == 2
    assert channel.stats.published == 2


async def test_what_a_cancelled_publish_carried_is_released():
    channel, subscriber = await full_channel()

    class Data:
        pass
    data = Data()
    gone = weakref.ref(data)
    task = await waiting(channel.publish(data))
    del data
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None and subscriber.stats.waiting == 1


async def test_closing_ends_waiting_publishers():
    channel, subscriber = await full_channel()
    tasks = await waiting(channel.publish(1), channel.publish_many([Message(2), Message(3)]))
    await channel.close()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(r) for r in results] == [ChannelClosedError] * 2
    assert [m.data async for m in subscriber] == ['full']


async def test_unsubscribing_makes_room():
    channel, subscriber = await full_channel()
    task = await waiting(channel.publish(1))
    await channel.unsubscribe(subscriber)
    assert await asyncio.wait_for(task, 60) == 0


async def test_dropping_the_subscriber_makes_room():
    channel, subscriber = await full_channel()
    task = await waiting(channel.publish(1))
    del subscriber
    assert await asyncio.wait_for(task, 60) == 0


async def test_a_publish_that_is_dropped_while_it_waits():
    channel, subscriber = await full_channel()
    operation = channel.publish(1)
    operation.send(None)
    task = await waiting(channel.publish(2))
    del operation
    assert (await subscriber.receive()).data == 'full'
    await asyncio.wait_for(task, 60)
    assert (await subscriber.receive()).data == 2


async def test_cancelling_many_in_the_middle():
    channel, subscriber = await full_channel()
    messages = [Message(i) for i in range(5)]
    left = list(messages)
    task = await waiting(channel._publish_list(left))
    for wanted in 'full', 0, 1:
        assert (await subscriber.receive()).data == wanted
        for _ in range(3):
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # 2 is in the buffer by now; what is left was not published.
    assert left == messages[3:] and (await subscriber.receive()).data == 2
    with pytest.raises(ChannelEmptyError):
        subscriber.receive_nowait()


async def test_random_cancelling():
    """Hazard 48: whatever is cancelled, each message that was published is received once, and in order."""
    import random
    rng = random.Random(5)
    channel = Channel(buffer_size=3)
    subscriber = await channel.subscribe()
    sent, got, maybe = [], [], set()

    async def publish(i):
        try:
            await channel.publish(i)
            sent.append(i)
        except asyncio.CancelledError:
            maybe.add(i)
            raise

    async def receive():
        got.append((await subscriber.receive()).data)
    tasks = []
    for i in range(2000):
        tasks.append(asyncio.create_task(publish(i)))
        tasks.append(asyncio.create_task(receive()))
        if rng.random() < 0.5:
            rng.choice(tasks).cancel()
        if rng.random() < 0.3:
            await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    got += [m.data for m in subscriber.receive_many_blocking(timeout=0)] if subscriber.stats.waiting else []
    stats = subscriber.stats
    assert len(got) == len(set(got)) == stats.delivered and stats.dropped == 0
    assert set(sent) <= set(got) <= set(sent) | maybe
    assert got == sorted(got)
