"""Publisher with its batches, and TopicChannel: the thin layer over channels."""
import asyncio

import pytest

from mtaio.events import Channel, Message, Publisher, Subscriber, TopicChannel
from mtaio.exceptions import ChannelClosedError, ChannelEmptyError, ChannelError, ChannelFullError


def drain(subscriber):
    got = []
    while True:
        try:
            got.append(subscriber.receive_nowait().data)
        except (ChannelEmptyError, ChannelClosedError):
            return got


# --- Publisher

async def test_publishing_one_by_one():
    channel = Channel()
    subscriber = await channel.subscribe()
    publisher = Publisher(channel, default_topic='news')
    assert await publisher.publish(1) == 1
    assert await publisher.publish(2, 'other', {'k': 1}) == 1
    assert await subscriber.receive() == Message(1, 'news')
    assert await subscriber.receive() == Message(2, 'other', {'k': 1})
    assert await Publisher(channel).publish(3) == 1 and (await subscriber.receive()).topic is None


async def test_a_batch_is_published_at_its_end():
    channel = Channel()
    subscriber = await channel.subscribe()
    async with Publisher(channel, default_topic='a').batch() as batch:
        for i in range(10):
            await batch.publish(i)
        await batch.publish(10, 'b', {'k': 1})
        assert drain(subscriber) == []
    got = await subscriber.receive_many()
    assert [m.data for m in got] == list(range(11))
    assert [m.topic for m in got] == ['a'] * 10 + ['b'] and got[-1].metadata == {'k': 1}


async def test_an_empty_batch():
    channel = Channel()
    async with Publisher(channel).batch():
        pass
    assert channel.stats.published == 0


async def test_a_batch_that_is_left_by_an_exception_publishes_what_it_has():
    channel = Channel()
    subscriber = await channel.subscribe()
    with pytest.raises(KeyError):
        async with Publisher(channel).batch() as batch:
            await batch.publish(1)
            raise KeyError
    assert drain(subscriber) == [1]


async def test_a_full_batch_is_published_before_its_end():
    channel = Channel()
    subscriber = await channel.subscribe()
    async with Publisher(channel, batch_size=3).batch() as batch:
        for i in range(7):
            await batch.publish(i)
        assert drain(subscriber) == [0, 1, 2, 3, 4, 5]
    assert drain(subscriber) == [6]


async def test_flush():
    channel = Channel()
    subscriber = await channel.subscribe()
    async with Publisher(channel).batch() as batch:
        await batch.publish(1)
        await batch.publish(2)
        assert await batch.flush() == 2 and drain(subscriber) == [1, 2]
        assert await batch.flush() == 0


async def test_flushed_by_time():
    channel = Channel()
    subscriber = await channel.subscribe()
    async with Publisher(channel, flush_interval=0.01).batch() as batch:
        await batch.publish(1)
        await batch.publish(2)
        got = [(await subscriber.receive(timeout=60)).data for _ in range(2)]
        assert got == [1, 2]
        await batch.publish(3)
        assert (await subscriber.receive(timeout=60)).data == 3


async def test_only_at_the_end_without_an_interval():
    channel = Channel()
    subscriber = await channel.subscribe()
    async with Publisher(channel, flush_interval=None).batch() as batch:
        await batch.publish(1)
        await asyncio.sleep(0.01)
        assert drain(subscriber) == []
    assert drain(subscriber) == [1]


async def test_back_pressure_reaches_the_batch():
    """Publications of one batch stay in order, whoever flushes them."""
    channel = Channel(buffer_size=2)
    subscriber = await channel.subscribe()

    async def publish():
        async with Publisher(channel, batch_size=5, flush_interval=0.001).batch() as batch:
            for i in range(50):
                await batch.publish(i)
                await asyncio.sleep(0)
    task = asyncio.create_task(publish())
    assert [(await subscriber.receive(timeout=60)).data for _ in range(50)] == list(range(50))
    await task


async def test_what_could_not_be_published_stays_in_the_batch():
    """An error comes from the flush that meets it; the messages before are published, once."""
    channel = Channel()
    subscriber = await channel.subscribe(buffer_size=2, overflow='error')
    batch = Publisher(channel).batch()
    for i in range(5):
        await batch.publish(i)
    with pytest.raises(ChannelFullError):
        await batch.flush()
    assert drain(subscriber) == [0, 1]
    with pytest.raises(ChannelFullError):
        await batch.flush()
    assert drain(subscriber) == [2, 3]
    assert await batch.flush() == 1 and drain(subscriber) == [4]


async def test_an_error_of_a_flush_by_time_comes_again_at_the_end():
    channel = Channel()
    batch = Publisher(channel, flush_interval=0.001).batch()
    await batch.publish(1)
    channel.close()
    await asyncio.sleep(0.02)
    with pytest.raises(ChannelClosedError):
        await batch.flush()


async def test_cancelled_while_it_flushes():
    channel = Channel(buffer_size=1)
    subscriber = await channel.subscribe()
    batch = Publisher(channel, flush_interval=None).batch()
    for i in range(3):
        await batch.publish(i)
    task = asyncio.create_task(batch.flush())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert drain(subscriber) == [0]
    task = asyncio.create_task(batch.flush())
    assert [(await subscriber.receive(timeout=60)).data for _ in range(2)] == [1, 2]
    assert await task == 2


@pytest.mark.parametrize('size', [0, -1])
def test_refused_sizes(size):
    with pytest.raises(ValueError):
        Publisher(Channel(), batch_size=size)


# --- TopicChannel

async def test_topics():
    channel = TopicChannel[str]('t')
    subscriber, other = await channel.subscribe(['news', 'updates.*']), await channel.subscribe('weather')
    assert isinstance(subscriber, Subscriber)
    assert await channel.publish('news', 'Breaking news!', {'k': 1}) == 1
    assert await channel.publish('updates.x', 'u') == 1 and channel.publish_nowait('weather', 'w') == 1
    assert await channel.publish('nobody', 'n') == 0
    assert await subscriber.receive() == Message('Breaking news!', 'news', {'k': 1})
    assert drain(subscriber) == ['u'] and drain(other) == ['w']
    assert channel.topics == ['news', 'updates.*', 'weather'] and channel.subscriber_count == 2
    del other
    assert channel.topics == ['news', 'updates.*']
    await channel.unsubscribe(subscriber)
    assert channel.subscriber_count == 0 and channel.name == 't' and 'TopicChannel' in repr(channel)


async def test_topics_are_required():
    channel = TopicChannel()
    for topics in [], ():
        with pytest.raises(ChannelError):
            await channel.subscribe(topics)
    with pytest.raises(TypeError):
        await channel.publish(None, 1)
    with pytest.raises(TypeError):
        await channel.subscribe(None)


async def test_options_and_the_end_of_a_topic_channel():
    async with TopicChannel(max_subscribers=1, buffer_size=1, overflow='drop_oldest') as channel:
        subscriber = await channel.subscribe('a')
        with pytest.raises(ChannelFullError):
            await channel.subscribe('b')
        await channel.publish('a', 1)
        await channel.publish('a', 2)
        assert channel.stats.dropped == 1
    assert channel.is_closed
    with pytest.raises(ChannelClosedError):
        await channel.publish('a', 3)
    assert drain(subscriber) == [2]
    await channel.close()
