"""Channels: broadcasting by topic, receiving, buffers and what they do when full, closing."""
import asyncio
import gc
import math
import pickle
import weakref

import pytest

from mtaio.events import Channel, Message, Publisher, Subscriber, TopicChannel
from mtaio.exceptions import ChannelClosedError, ChannelError, ChannelFullError


async def finish(result):
    """Some calls answer at once, and may be awaited all the same."""
    if result is not None:
        await result


def take(subscriber):
    """Everything that is there."""
    got = []
    while True:
        try:
            got.append(subscriber.receive_nowait().data)
        except (asyncio.QueueEmpty, ChannelError):
            return got


@pytest.fixture
def channel():
    return Channel('numbers')


# --- Broadcasting

async def test_every_subscriber_gets_every_message_in_one_order(channel):
    subscribers = [await channel.subscribe() for _ in range(3)]

    async def publish(start):
        for i in range(start, start + 5):
            await channel.publish(i)
            await asyncio.sleep(0)
    await asyncio.gather(publish(0), publish(10), publish(20))
    got = [take(s) for s in subscribers]
    assert got[0] == got[1] == got[2] and sorted(got[0]) == [*range(5), *range(10, 15), *range(20, 25)]


async def test_publish_returns_how_many_it_reached(channel):
    assert await channel.publish(1) == 0
    one = await channel.subscribe(['a.*'])
    two = await channel.subscribe(['b', 'a.**'])
    three = await channel.subscribe()
    assert await channel.publish(1, topic='a.x') == 3
    assert await channel.publish(2, topic='b') == 2
    assert await channel.publish(3, topic='c') == 1
    assert await channel.publish(4) == 3
    assert (take(one), take(two), take(three)) == ([1, 4], [1, 2, 4], [1, 2, 3, 4])


async def test_broadcast_reaches_everybody(channel):
    one, two = await channel.subscribe(['a']), await channel.subscribe()
    assert await channel.broadcast(1) == 2
    assert (take(one), take(two)) == ([1], [1])


async def test_a_message_once_however_many_patterns_match(channel):
    subscriber = await channel.subscribe(['user.*', 'user.login', '**', '*'])
    assert await channel.publish(1, topic='user.login') == 1
    assert take(subscriber) == [1]


async def test_messages(channel):
    subscriber, data, metadata = await channel.subscribe(), object(), {'m': 1}
    await channel.publish(data, topic='a.b', metadata=metadata)
    await channel.publish(2)
    first, second = await subscriber.receive(), await subscriber.receive()
    assert isinstance(first, Message)
    assert first.data is data and first.topic == 'a.b' and first.metadata is metadata and first.missed == 0
    assert second.data == 2 and second.topic is None and second.metadata == {}
    assert '2' in repr(second)


def test_message_as_an_object():
    message = Message(1, 'a', {'m': 2})
    assert (message.data, message.topic, message.metadata) == (1, 'a', {'m': 2})
    assert pickle.loads(pickle.dumps(message)) == message == Message(1, 'a', {'m': 2}) != Message(2)


@pytest.mark.parametrize('topic', ['', 'a..b', '.a', 'a\0b', '\ud800', 'a.*', '*', 'x' * 65536], ids=range(8))
async def test_topics_that_are_none(channel, topic):
    subscriber = await channel.subscribe()
    with pytest.raises(ChannelError):
        await channel.publish(1, topic=topic)
    assert take(subscriber) == []


@pytest.mark.parametrize('patterns', [['log*'], ['a', 'b*c'], [''], ['a..b']])
async def test_patterns_that_are_none(channel, patterns):
    with pytest.raises(ChannelError):
        await channel.subscribe(patterns)
    assert channel.subscriber_count == 0


@pytest.mark.parametrize('topic', [1, b'a', ['a'], object()], ids=type)
async def test_topics_of_another_type(channel, topic):
    with pytest.raises(TypeError):
        await channel.publish(1, topic=topic)
    with pytest.raises(TypeError):
        await channel.subscribe([topic])


async def test_names_and_generics():
    channel = Channel[str]('notifications')
    assert channel.name == 'notifications' and isinstance(channel, Channel)
    assert 'notifications' in repr(channel)
    for wrong in None, 5, b'x':
        with pytest.raises(TypeError):
            Channel(wrong)


# --- Receiving

async def test_receive_waits(channel):
    subscriber = await channel.subscribe()
    task = asyncio.create_task(subscriber.receive())
    await asyncio.sleep(0)
    assert not task.done()
    await channel.publish(1)
    assert (await task).data == 1


async def test_receive_with_a_time_limit(channel):
    subscriber = await channel.subscribe()
    with pytest.raises(asyncio.TimeoutError):
        await subscriber.receive(timeout=0.01)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(subscriber.receive(), 0.01)
    await channel.publish(1)
    assert (await subscriber.receive(timeout=60)).data == 1


@pytest.mark.parametrize('timeout', [0, -1, -math.inf])
async def test_time_limits_that_have_passed(channel, timeout):
    """Hazard 37."""
    subscriber = await channel.subscribe()
    with pytest.raises(asyncio.TimeoutError):
        await subscriber.receive(timeout=timeout)
    await channel.publish(1)
    assert (await subscriber.receive(timeout=timeout)).data == 1


@pytest.mark.parametrize('timeout', [math.nan, 'x', object()])
async def test_time_limits_that_are_none(channel, timeout):
    subscriber = await channel.subscribe()
    await channel.publish(1)
    with pytest.raises((TypeError, ValueError)):
        await subscriber.receive(timeout=timeout)
    assert take(subscriber) == [1]


@pytest.mark.parametrize('timeout', [math.inf, 1e300, 2**80, 1e10, None])
async def test_time_limits_without_end(channel, timeout):
    subscriber = await channel.subscribe()
    task = asyncio.create_task(subscriber.receive(timeout=timeout))
    await asyncio.sleep(0.005)
    await channel.publish(1)
    assert (await task).data == 1


async def test_receive_nowait(channel):
    subscriber = await channel.subscribe()
    with pytest.raises((asyncio.QueueEmpty, ChannelError)):
        subscriber.receive_nowait()
    await channel.publish(1)
    assert subscriber.receive_nowait().data == 1


async def test_iterating_until_the_channel_closes(channel):
    subscriber = await channel.subscribe()

    async def consume():
        return [message.data async for message in subscriber]
    task = asyncio.create_task(consume())
    for i in range(3):
        await channel.publish(i)
        await asyncio.sleep(0)
    await channel.publish(3)
    await finish(channel.close())
    assert await task == [0, 1, 2, 3]


async def test_a_subscription_as_context(channel):
    async with await channel.subscribe() as subscriber:
        assert channel.subscriber_count == 1
        await channel.publish(1)
        assert (await subscriber.receive()).data == 1
    assert channel.subscriber_count == 0


async def test_two_receivers_on_one_subscriber(channel):
    """Hazard 24: each message to exactly one."""
    subscriber = await channel.subscribe()
    tasks = [asyncio.create_task(subscriber.receive()) for _ in range(10)]
    await asyncio.sleep(0)
    for i in range(10):
        await channel.publish(i)
    assert sorted(message.data for message in await asyncio.gather(*tasks)) == list(range(10))


async def test_a_cancelled_receive_never_swallows_a_message(channel):
    """Hazard 48: cancelled at every point."""
    subscriber = await channel.subscribe()
    for steps_before in range(4):
        for steps_between in range(4):
            task = asyncio.create_task(subscriber.receive())
            for _ in range(steps_before):
                await asyncio.sleep(0)
            await channel.publish('message')
            for _ in range(steps_between):
                await asyncio.sleep(0)
            task.cancel()
            try:
                got = [(await task).data]
            except asyncio.CancelledError:
                got = []
            assert got + take(subscriber) == ['message'], (steps_before, steps_between)


async def test_a_timed_out_receive_never_swallows_a_message(channel):
    subscriber, lost = await channel.subscribe(), 0
    for delay in (0, 0.0005, 0.001, 0.0015) * 5:
        asyncio.get_running_loop().call_later(0.001, channel.publish_nowait, 1)
        try:
            await subscriber.receive(timeout=delay)
        except asyncio.TimeoutError:
            await asyncio.sleep(0.003)
            lost += len(take(subscriber)) != 1
    assert lost == 0


async def test_the_message_of_a_cancelled_receiver_goes_to_another(channel):
    subscriber = await channel.subscribe()
    first, second = (asyncio.create_task(subscriber.receive()) for _ in range(2))
    await asyncio.sleep(0)
    await channel.publish(1)
    first.cancel()
    results = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 5) \
        if first.done() else [None, await asyncio.wait_for(second, 60)]
    got = [r.data for r in results if isinstance(r, Message)]
    assert got == [1]
    second.cancel()


# --- Subscriptions

async def test_a_subscription_lives_while_it_is_referenced(channel, collected):
    subscriber = await channel.subscribe()
    collected()
    assert channel.subscriber_count == 1
    await channel.publish(1)
    assert take(subscriber) == [1]


async def test_a_subscription_lives_while_it_is_iterated(channel, collected):
    got = []

    async def consume():
        async for message in await channel.subscribe():
            got.append(message.data)
    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    collected()
    assert channel.subscriber_count == 1
    await channel.publish(1)
    await asyncio.sleep(0)
    await finish(channel.close())
    await task
    assert got == [1]


async def test_a_dropped_subscriber_is_cleaned_up(channel, collected):
    subscriber = await channel.subscribe()
    ref = weakref.ref(subscriber)
    del subscriber
    collected()
    assert ref() is None and channel.subscriber_count == 0
    assert await channel.publish(1) == 0


async def test_unsubscribe(channel):
    subscriber, other = await channel.subscribe(), await channel.subscribe()
    await finish(channel.unsubscribe(subscriber))
    assert channel.subscriber_count == 1
    assert await channel.publish(1) == 1
    with pytest.raises(ChannelClosedError):
        await subscriber.receive()
    await finish(channel.unsubscribe(subscriber))
    with pytest.raises((TypeError, ChannelError)):
        await finish(channel.unsubscribe(None))
    assert take(other) == [1]


async def test_unsubscribing_ends_a_pending_receive(channel):
    subscriber = await channel.subscribe()
    task = asyncio.create_task(subscriber.receive())
    await asyncio.sleep(0)
    await finish(channel.unsubscribe(subscriber))
    with pytest.raises(ChannelClosedError):
        await task


async def test_subscriptions_can_be_changed(channel):
    subscriber = await channel.subscribe(['a'])
    assert subscriber.topics == {'a'}
    subscriber.add('b.*')
    await channel.publish(1, topic='b.x')
    subscriber.drop('a')
    await channel.publish(2, topic='a')
    assert take(subscriber) == [1] and subscriber.topics == {'b.*'}


async def test_max_subscribers():
    """Enforced with a clear error."""
    channel = Channel('c', max_subscribers=2)
    kept = [await channel.subscribe(), await channel.subscribe()]
    with pytest.raises(ChannelFullError, match='2|limit'):
        await channel.subscribe()
    kept.pop()
    gc.collect()
    kept.append(await channel.subscribe())
    assert channel.subscriber_count == 2


# --- Buffers: hazard 25

async def test_unbounded_by_default(channel):
    subscriber = await channel.subscribe()
    for i in range(5000):
        await channel.publish(i)
    assert take(subscriber) == list(range(5000))


async def test_buffer_size_zero_is_unbounded(channel):
    subscriber = await channel.subscribe(buffer_size=0)
    for i in range(1000):
        await channel.publish(i)
    assert len(take(subscriber)) == 1000


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 7, 8, 9])
async def test_block(channel, size):
    """The default: publish waits."""
    subscriber = await channel.subscribe(buffer_size=size)
    for i in range(size):
        await asyncio.wait_for(channel.publish(i), 1)
    task = asyncio.create_task(channel.publish(size))
    await asyncio.sleep(0.002)
    assert not task.done()
    assert (await subscriber.receive()).data == 0
    assert await asyncio.wait_for(task, 60) == 1
    assert take(subscriber) == list(range(1, size + 1))


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 8])
async def test_drop_oldest(channel, size):
    subscriber = await channel.subscribe(buffer_size=size, overflow='drop_oldest')
    for i in range(20):
        assert await channel.publish(i) == 1
    first = subscriber.receive_nowait()
    assert (first.data, first.missed) == (20 - size, 20 - size)
    rest = [subscriber.receive_nowait() for _ in range(size - 1)]
    assert [(m.data, m.missed) for m in rest] == [(i, 0) for i in range(21 - size, 20)]


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 8])
async def test_drop_newest(channel, size):
    subscriber = await channel.subscribe(buffer_size=size, overflow='drop_newest')
    for i in range(20):
        await channel.publish(i)
    assert take(subscriber) == list(range(size))
    await channel.publish('next')
    message = subscriber.receive_nowait()
    assert (message.data, message.missed) == ('next', 20 - size)


async def test_error(channel):
    """Nobody gets the message."""
    subscriber = await channel.subscribe(buffer_size=1, overflow='error')
    other = await channel.subscribe()
    await channel.publish(1)
    with pytest.raises(ChannelFullError):
        await channel.publish(2)
    assert (take(subscriber), take(other)) == ([1], [1])


@pytest.mark.parametrize('overflow', ['', 'nonsense', 5, None.__class__, b'block'])
async def test_policies_that_are_none(channel, overflow):
    with pytest.raises((ValueError, TypeError)):
        await channel.subscribe(overflow=overflow)


@pytest.mark.parametrize('size', [-1, 1.5, 'x', 2**70])
async def test_sizes_that_are_none(channel, size):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        await channel.subscribe(buffer_size=size)
    assert channel.subscriber_count == 0


async def test_a_cancelled_publish_reached_nobody(channel):
    """Hazard 48."""
    subscriber = await channel.subscribe(buffer_size=1)
    await channel.publish(1)
    task = asyncio.create_task(channel.publish(2))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert take(subscriber) == [1]
    await channel.publish(3)
    assert take(subscriber) == [3]


async def test_blocked_publishers_keep_their_order(channel):
    subscriber = await channel.subscribe(buffer_size=1)
    await channel.publish(0)
    tasks = [asyncio.create_task(channel.publish(i)) for i in range(1, 6)]
    await asyncio.sleep(0)
    got = [(await subscriber.receive()).data for _ in range(6)]
    await asyncio.gather(*tasks)
    assert got == list(range(6))


async def test_one_full_buffer_holds_a_message_for_all(channel):
    """Publishing is all or nothing."""
    full, other = await channel.subscribe(buffer_size=1), await channel.subscribe()
    await channel.publish(1)
    task = asyncio.create_task(channel.publish(2))
    await asyncio.sleep(0.002)
    assert take(other) == [1]
    assert full.receive_nowait().data == 1
    await task
    assert (take(other), take(full)) == ([2], [2])


async def test_a_dropped_subscriber_frees_a_blocked_publisher(channel):
    subscriber = await channel.subscribe(buffer_size=1)
    await channel.publish(1)
    task = asyncio.create_task(channel.publish(2))
    await asyncio.sleep(0)
    del subscriber
    gc.collect()
    assert await asyncio.wait_for(task, 60) == 0


# --- Closing

async def test_close(channel):
    """Publishers get a closed error at once; subscribers first drain what they were sent."""
    subscriber = await channel.subscribe()
    await channel.publish(1)
    await channel.publish(2)
    assert channel.is_closed is False
    await finish(channel.close())
    assert channel.is_closed is True
    with pytest.raises(ChannelClosedError):
        await channel.publish(3)
    with pytest.raises(ChannelClosedError):
        await channel.subscribe()
    assert (await subscriber.receive()).data == 1
    assert subscriber.receive_nowait().data == 2
    with pytest.raises(ChannelClosedError):
        await subscriber.receive()
    with pytest.raises(ChannelClosedError):
        subscriber.receive_nowait()
    assert [m async for m in subscriber] == []
    await finish(channel.close())


async def test_close_wakes_those_who_wait(channel):
    empty, full = await channel.subscribe(['other']), await channel.subscribe(buffer_size=1)
    await channel.publish(1, topic='x')
    receiving, publishing = asyncio.create_task(empty.receive()), asyncio.create_task(channel.publish(2, topic='x'))
    await asyncio.sleep(0)
    await finish(channel.close())
    for task in receiving, publishing:
        with pytest.raises(ChannelClosedError):
            await asyncio.wait_for(task, 60)
    assert take(full) == [1]


async def test_a_channel_as_context():
    async with Channel('c') as channel:
        subscriber = await channel.subscribe()
        await channel.publish(1)
    assert channel.is_closed and (await subscriber.receive()).data == 1


async def test_a_dropped_channel_closes(collected):
    channel = Channel('c')
    subscriber = await channel.subscribe()
    await channel.publish(1)
    del channel
    collected()
    assert (await subscriber.receive()).data == 1
    with pytest.raises(ChannelClosedError):
        await asyncio.wait_for(subscriber.receive(), 5)


async def test_data_is_released_when_nobody_has_it_any_more(channel, collected):
    class Data:
        pass
    one, two = await channel.subscribe(), await channel.subscribe(buffer_size=1, overflow='drop_oldest')
    data = Data()
    ref = weakref.ref(data)
    await channel.publish(data)
    del data
    await channel.publish(2)   # two drops the first
    collected()
    assert ref() is not None
    message = one.receive_nowait()
    collected()
    assert ref() is message.data
    del message
    collected()
    assert ref() is None
    assert take(two) == [2]


# --- Publishers and topic channels

async def test_publisher(channel):
    subscriber = await channel.subscribe()
    publisher = Publisher(channel)
    assert await publisher.publish(1) == 1
    await publisher.publish(2, topic='a')
    got = [subscriber.receive_nowait() for _ in range(2)]
    assert [(m.data, m.topic) for m in got] == [(1, None), (2, 'a')]


async def test_a_publishers_batch(channel):
    """What is published inside is sent at the end, together."""
    subscriber = await channel.subscribe()
    publisher = Publisher(channel)
    async with publisher.batch() as batch:
        await (batch or publisher).publish(1)
        await (batch or publisher).publish(2, topic='a')
        assert take(subscriber) == []
    assert take(subscriber) == [1, 2]


async def test_topic_channel():
    channel = TopicChannel[int]('topics')
    subscriber = await channel.subscribe(['a.*'])
    assert isinstance(subscriber, Subscriber) and channel.subscriber_count == 1
    assert await channel.publish('a.b', 1, {'m': 1}) == 1
    assert await channel.publish('b', 2) == 0
    message = await subscriber.receive()
    assert (message.data, message.topic, message.metadata) == (1, 'a.b', {'m': 1})
    other = await channel.subscribe('b')
    assert channel.topics == ['a.*', 'b']
    with pytest.raises(TypeError):
        await channel.publish(None, 1)
    with pytest.raises(ChannelError):
        await channel.subscribe([])
    await channel.unsubscribe(other)
    await channel.close()
    assert channel.is_closed and channel.name == 'topics'
    with pytest.raises(ChannelClosedError):
        await channel.publish('a.b', 1)
