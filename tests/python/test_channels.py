"""Channels by sentence: who gets what, in which order, what happens to full buffers, and what closing means."""
import asyncio
import inspect
import weakref

import pytest

from mtaio.events import Channel, Message, Subscriber
from mtaio.exceptions import (ChannelClosedError, ChannelEmptyError, ChannelError, ChannelFullError, ChannelTimeoutError,
                              MTAIOError)


def drain(subscriber):
    """The data of all that waits."""
    got = []
    while True:
        try:
            got.append(subscriber.receive_nowait().data)
        except (ChannelEmptyError, ChannelClosedError):
            return got


# --- Making

def test_a_channel_without_arguments():
    channel = Channel()
    assert (channel.name, channel.subscriber_count, channel.is_closed) == ('', 0, False)
    assert (channel.max_subscribers, channel.buffer_size) == (None, 0)


def test_a_channel_with_all_of_them():
    channel = Channel[str]('news', max_subscribers=3, buffer_size=5, overflow='drop_oldest', replay=2, replay_by_topic=True)
    assert (channel.name, channel.max_subscribers, channel.buffer_size) == ('news', 3, 5)
    assert repr(channel) == "<mtaio.events.Channel 'news', 0 subscribers>"


@pytest.mark.parametrize('arguments, error', [
    ({'name': 1}, TypeError), ({'name': None}, TypeError), ({'name': b'a'}, TypeError), ({'name': 'a\0b'}, ValueError),
    ({'name': '\ud800'}, ValueError), ({'buffer_size': -1}, ValueError), ({'max_subscribers': -1}, ValueError),
    ({'buffer_size': 'x'}, TypeError), ({'buffer_size': 1.5}, TypeError), ({'buffer_size': 2**70}, OverflowError),
    ({'overflow': 'no'}, ValueError), ({'overflow': 1}, ValueError), ({'replay': -1}, ValueError), ({'other': 1}, TypeError),
])
def test_refused_arguments(arguments, error):
    with pytest.raises(error):
        Channel(**arguments)


def test_only_the_name_by_position():
    with pytest.raises(TypeError):
        Channel('a', 1)


def test_initialised_once():
    channel = Channel('a')
    with pytest.raises(RuntimeError):
        channel.__init__('b')
    assert channel.name == 'a'


async def test_one_that_was_never_initialised_is_closed():
    class Half(Channel):
        def __init__(self):
            pass
    channel = Half()
    assert channel.is_closed and channel.subscriber_count == 0
    for attempt in channel.publish(1), channel.subscribe():
        with pytest.raises(ChannelError):
            await attempt
    await channel.close()


def test_subscribers_come_from_channels_only():
    with pytest.raises(TypeError):
        Subscriber()


@pytest.mark.parametrize('method, wanted', [
    (Channel.subscribe, "(self, /, topics=None, *, buffer_size=None, overflow=None, replay=True)"),
    (Channel.publish, "(self, /, data, topic=None, metadata=None)"),
    (Channel.broadcast, "(self, /, data, metadata=None)"),
    (Channel.publish_nowait, "(self, /, data, topic=None, metadata=None)"),
    (Channel.publish_blocking, "(self, /, data, topic=None, metadata=None, timeout=None)"),
    (Channel.unsubscribe, "(self, subscriber, /)"),
    (Channel.close, "(self, /)"),
    (Channel, "(name='', *, max_subscribers=None, buffer_size=0, overflow='block', replay=0, replay_by_topic=False)"),
    (Subscriber.receive, "(self, /, timeout=None)"),
    (Subscriber.receive_many, "(self, /, limit=None, timeout=None)"),
    (Message, "(data, topic=None, metadata=None, missed=0)"),
])
def test_signatures(method, wanted):
    assert str(inspect.signature(method)) == wanted


def test_everything_public_has_a_docstring():
    for cls in Channel, Subscriber, Message:
        assert cls.__doc__ and cls.__module__ == 'mtaio.events'
        for name, value in vars(cls).items():
            if not name.startswith('_') and (callable(value) or inspect.isdatadescriptor(value)):
                assert value.__doc__, name


# --- Who gets what

async def test_publish_reaches_every_subscriber_and_says_how_many():
    channel = Channel()
    assert await channel.publish(0) == 0
    subscribers = [await channel.subscribe() for _ in range(3)]
    assert await channel.publish(1) == 3 and channel.subscriber_count == 3
    assert [drain(s) for s in subscribers] == [[1]] * 3


async def test_topics():
    """Patterns: `*` is one segment, `**` any number of them; without a topic everybody is reached."""
    channel = Channel()
    one = await channel.subscribe(['user.*', 'system.**'])
    two = await channel.subscribe('user.login')
    everything = await channel.subscribe()
    assert await channel.publish(1, topic='user.login') == 3
    assert await channel.publish(2, 'user.a.b') == 1
    assert await channel.publish(3, 'system') == 2
    assert await channel.publish(4) == 3
    assert [drain(s) for s in (one, two, everything)] == [[1, 3, 4], [1, 4], [1, 2, 3, 4]]


async def test_a_subscriber_gets_a_message_once():
    """However many of its patterns match."""
    channel = Channel()
    subscriber = await channel.subscribe(['a.b', 'a.*', '**', 'a.b'])
    assert await channel.publish(1, 'a.b') == 1
    assert drain(subscriber) == [1] and subscriber.topics == {'a.b', 'a.*', '**'}


async def test_no_topics_means_everything():
    channel = Channel()
    subscribers = [await channel.subscribe(topics) for topics in (None, [], ())]
    assert await channel.publish(1, 'a.b') == 3
    assert all(s.topics == frozenset() for s in subscribers)


async def test_topics_from_any_iterable():
    channel = Channel()
    subscriber = await channel.subscribe(topic for topic in ('a', 'b'))
    assert subscriber.topics == {'a', 'b'}


@pytest.mark.parametrize('topics, error', [
    (1, TypeError), ([1], TypeError), ([None], TypeError), ([b'a'], TypeError), ('', ChannelError), ('a..b', ChannelError),
    ('a*', ChannelError), (['a', 'log*'], ChannelError), ('a\0b', ChannelError), ('\udc00', ChannelError),
    ('x' * 70000, ChannelError)], ids=lambda value: ascii(value)[:20])
async def test_refused_topics_of_subscribers(topics, error):
    """Hazard 38."""
    channel = Channel()
    with pytest.raises(error):
        await channel.subscribe(topics)
    with pytest.raises(error):
        channel.subscribe_nowait(topics)
    assert channel.subscriber_count == 0


@pytest.mark.parametrize('topic, error', [
    (1, TypeError), (b'a', TypeError), (['a'], TypeError), ('', ChannelError), ('a..b', ChannelError), ('a.*', ChannelError),
    ('*', ChannelError), ('a\0b', ChannelError), ('\ud800', ChannelError), ('x' * 70000, ChannelError)],
    ids=lambda value: ascii(value)[:20])
async def test_refused_topics_of_messages(topic, error):
    """Publishing to a pattern is refused; hazard 38."""
    channel = Channel()
    subscriber = await channel.subscribe()
    for publish in channel.publish_nowait, channel.publish_blocking:
        with pytest.raises(error):
            publish(1, topic)
    with pytest.raises(error):
        await channel.publish(1, topic)
    assert drain(subscriber) == []


@pytest.mark.parametrize('metadata', [1, 'a', [1], (1,), object()])
async def test_refused_metadata(metadata):
    with pytest.raises(TypeError):
        Channel().publish_nowait(1, metadata=metadata)


async def test_broadcast_is_publishing_without_topic():
    channel = Channel()
    subscriber = await channel.subscribe('a')
    assert await channel.broadcast(1, {'k': 1}) == 1
    assert await subscriber.receive() == Message(1, None, {'k': 1})


async def test_messages_carry_the_very_objects():
    channel = Channel()
    subscriber = await channel.subscribe()
    data, metadata, topic = [1], {'k': 1}, 'a.b'
    await channel.publish(data, topic, metadata)
    m = await subscriber.receive()
    assert m.data is data and m.metadata is metadata and m.topic is topic and m.missed == 0
    await channel.publish(data)
    m = await subscriber.receive()
    assert (m.topic, m.metadata) == (None, {})


async def test_one_order_for_all():
    channel = Channel()
    subscribers = [await channel.subscribe() for _ in range(3)]

    async def publish(name):
        for i in range(50):
            await channel.publish((name, i))
            await asyncio.sleep(0)
    await asyncio.gather(*map(publish, 'abc'))
    first, *others = [drain(s) for s in subscribers]
    assert all(other == first for other in others) and len(first) == 150
    assert [i for name, i in first if name == 'a'] == list(range(50))


async def test_reach():
    channel = Channel()
    subscribers = [await channel.subscribe(topics) for topics in ('a', 'b', None)]
    assert (channel.reach(), channel.reach('a'), channel.reach(topic='c')) == (3, 2, 1)
    with pytest.raises(ChannelError):
        channel.reach('*')
    assert len(subscribers) == 3


async def test_topics_can_be_changed():
    channel = Channel()
    subscriber = await channel.subscribe(['a'])
    assert subscriber.add('b.*') is True and subscriber.add('b.*') is False
    assert await channel.publish(1, 'b.c') == 1
    assert subscriber.drop('a') is True and subscriber.drop('a') is False
    assert await channel.publish(2, 'a') == 0
    assert subscriber.topics == {'b.*'}
    subscriber.drop('b.*')
    assert await channel.publish(3, 'b.c') == 0 and await channel.publish(4) == 1
    assert drain(subscriber) == [1, 4]
    for change in subscriber.add, subscriber.drop:
        with pytest.raises(TypeError):
            change(1)
    with pytest.raises(ChannelError):
        subscriber.add('a*')


async def test_adding_a_topic_restricts_a_subscriber_of_everything():
    channel = Channel()
    subscriber = await channel.subscribe()
    subscriber.add('a')
    assert await channel.publish(1, 'b') == 0 and await channel.publish(2, 'a') == 1


# --- Buffers

async def test_unbounded_by_default():
    channel = Channel()
    subscriber = await channel.subscribe()
    for i in range(10_000):
        await channel.publish(i)
    assert drain(subscriber) == list(range(10_000))


async def test_block():
    """Publishing waits for room, and later publications behind it."""
    channel = Channel(buffer_size=2)
    subscriber = await channel.subscribe()
    tasks = [asyncio.create_task(channel.publish(i)) for i in range(5)]
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    assert [(await subscriber.receive()).data for _ in range(5)] == [0, 1, 2, 3, 4]
    assert await asyncio.gather(*tasks) == [1] * 5


async def test_drop_oldest():
    channel = Channel(buffer_size=2, overflow='drop_oldest')
    subscriber = await channel.subscribe()
    for i in range(5):
        assert await channel.publish(i) == 1
    got = [await subscriber.receive(), await subscriber.receive()]
    assert [(m.data, m.missed) for m in got] == [(3, 3), (4, 0)]
    assert subscriber.stats[:5] == (5, 2, 3, 0, 2)


async def test_drop_newest():
    channel = Channel()
    subscriber = await channel.subscribe(buffer_size=2, overflow='drop_newest')
    for i in range(5):
        await channel.publish(i)
    got = [await subscriber.receive(), await subscriber.receive()]
    await channel.publish(5)
    got.append(await subscriber.receive())
    assert [(m.data, m.missed) for m in got] == [(0, 0), (1, 0), (5, 3)]


async def test_error():
    """Nobody gets a message that one cannot take."""
    channel = Channel(overflow='error')
    small, large = await channel.subscribe(buffer_size=1), await channel.subscribe()
    await channel.publish(0)
    for publish in channel.publish_nowait, channel.publish_blocking:
        with pytest.raises(ChannelFullError):
            publish(1)
    with pytest.raises(ChannelFullError):
        await channel.publish(1)
    assert (drain(small), drain(large)) == ([0], [0])


async def test_publish_nowait_where_it_would_wait():
    channel = Channel(buffer_size=1)
    subscriber = await channel.subscribe()
    assert channel.publish_nowait(0) == 1
    with pytest.raises(ChannelFullError):
        channel.publish_nowait(1)
    assert drain(subscriber) == [0]


async def test_zero_is_unbounded_also_for_one_subscriber():
    channel = Channel(buffer_size=1, overflow='error')
    subscriber = await channel.subscribe(buffer_size=0)
    for i in range(100):
        await channel.publish(i)
    assert drain(subscriber) == list(range(100))


@pytest.mark.parametrize('arguments, error', [({'buffer_size': -1}, ValueError), ({'buffer_size': 'a'}, TypeError),
                                              ({'overflow': 'x'}, ValueError), ({'other': 1}, TypeError)])
async def test_refused_arguments_of_subscribe(arguments, error):
    channel = Channel()
    with pytest.raises(error):
        await channel.subscribe(**arguments)
    assert channel.subscriber_count == 0


async def test_max_subscribers():
    channel = Channel('c', max_subscribers=2)
    one, two = await channel.subscribe(), await channel.subscribe()
    with pytest.raises(ChannelFullError, match="channel 'c' has 2 subscribers, as many as it may have"):
        await channel.subscribe()
    await channel.unsubscribe(one)
    three = await channel.subscribe()
    assert channel.subscriber_count == 2 and two is not three


async def test_replay():
    """Late subscribers begin with the last messages, unless they do not want to."""
    channel = Channel(replay=2)
    for i in range(5):
        await channel.publish(i)
    assert drain(await channel.subscribe()) == [3, 4]
    assert drain(await channel.subscribe(replay=False)) == []
    by_topic = Channel(replay=2, replay_by_topic=True)
    for i, topic in enumerate(['a', 'b', 'a', 'c']):
        await by_topic.publish(i, topic)
    assert sorted(drain(await by_topic.subscribe())) == [2, 3]


async def test_stats_of_the_channel():
    channel = Channel()
    one, two = await channel.subscribe(buffer_size=1, overflow='drop_newest'), await channel.subscribe()
    for i in range(3):
        await channel.publish(i)
    await two.receive()
    stats = channel.stats
    assert (stats.published, stats.reached, stats.delivered, stats.dropped, stats.waiting) == (3, 6, 1, 2, 3)
    assert stats.reached == stats.delivered + stats.dropped + stats.waiting
    assert one.stats.high_water == 1 and two.stats.high_water == 3
    assert 'published=3' in repr(stats)


# --- Receiving

async def test_receive_nowait():
    channel = Channel('c')
    subscriber = await channel.subscribe()
    with pytest.raises(ChannelEmptyError, match="'c'"):
        subscriber.receive_nowait()
    await channel.publish(1)
    assert subscriber.receive_nowait().data == 1


async def test_receive_many():
    channel = Channel()
    subscriber = await channel.subscribe()
    for i in range(200):
        await channel.publish(i)
    assert [m.data for m in await subscriber.receive_many(3)] == [0, 1, 2]
    assert [m.data for m in await subscriber.receive_many()] == list(range(3, 200))
    with pytest.raises(ChannelTimeoutError):
        await subscriber.receive_many(timeout=0)
    task = asyncio.create_task(subscriber.receive_many(limit=5))
    await asyncio.sleep(0)
    await channel.publish('x')
    assert [m.data for m in await task] == ['x']
    assert [m.data for m in subscriber.receive_many_blocking(timeout=0)] == [] if drain(subscriber) else True


@pytest.mark.parametrize('limit, error', [(0, ValueError), (-1, ValueError), ('a', TypeError)])
async def test_refused_limits(limit, error):
    subscriber = await Channel().subscribe()
    with pytest.raises(error):
        await subscriber.receive_many(limit)


async def test_publish_many():
    channel = Channel(buffer_size=150)
    one, two = await channel.subscribe('a'), await channel.subscribe()
    messages = [Message(i, 'a' if i % 2 else 'b') for i in range(100)]
    assert await channel.publish_many(messages) == 100
    assert drain(one) == list(range(1, 100, 2)) and drain(two) == list(range(100))
    assert await channel.publish_many([]) == 0
    assert await channel.publish_many(Message(i) for i in range(3)) == 3


async def test_publish_many_waits_in_the_middle():
    channel = Channel(buffer_size=10)
    subscriber = await channel.subscribe()
    task = asyncio.create_task(channel.publish_many([Message(i) for i in range(300)]))
    await asyncio.sleep(0)
    assert subscriber.stats.waiting == 10 and not task.done()
    assert [(await subscriber.receive()).data for _ in range(300)] == list(range(300))
    assert await task == 300


async def test_publish_many_stops_at_the_first_that_cannot_be_published():
    channel = Channel()
    subscriber = await channel.subscribe()
    with pytest.raises(ChannelError, match='a\\.\\*'):
        await channel.publish_many([Message(1), Message(2), Message(3, 'a.*'), Message(4)])
    assert drain(subscriber) == [1, 2]
    for wrong in [1], [Message(1), None]:
        with pytest.raises(TypeError):
            await channel.publish_many(wrong)
    with pytest.raises(TypeError):
        await channel.publish_many(1)


async def test_a_message_that_was_received_can_be_published_again():
    channel, other = Channel(buffer_size=1, overflow='drop_oldest'), Channel()
    subscriber, behind = await channel.subscribe(), await other.subscribe()
    await channel.publish(1)
    await channel.publish(2, 'a', {'k': 1})
    m = await subscriber.receive()
    assert await other.publish_many([m, m, m]) == 3
    got = [await behind.receive() for _ in range(3)]
    assert m.missed == 1 and all(x == Message(2, 'a', {'k': 1}) for x in got)


async def test_iterating_until_the_channel_closes():
    """Subscribers first receive what they were sent."""
    channel = Channel()
    subscriber = await channel.subscribe()
    for i in range(3):
        await channel.publish(i)
    await channel.close()
    assert [m.data async for m in subscriber] == [0, 1, 2]
    assert [m.data async for m in subscriber] == []


async def test_a_subscription_lives_while_it_is_iterated():
    """Though nobody refers to it but the loop."""
    channel = Channel()

    async def consume():
        return [m.data async for m in await channel.subscribe()]
    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    for i in range(3):
        assert await channel.publish(i) == 1
        await asyncio.sleep(0)
    await channel.close()
    assert await task == [0, 1, 2] and channel.subscriber_count == 0


async def test_a_dropped_subscriber_is_cleaned_up():
    channel = Channel()
    subscriber = await channel.subscribe()
    await channel.publish(1)
    gone = weakref.ref(subscriber)
    del subscriber
    assert gone() is None and channel.subscriber_count == 0
    assert await channel.publish(2) == 0
    assert channel.stats.dropped == 1


# --- Ends

async def test_closing():
    channel = Channel('c')
    subscriber = await channel.subscribe()
    await channel.publish(1)
    assert await channel.close() is None and channel.is_closed
    for attempt in channel.publish(2), channel.subscribe(), channel.broadcast(1), channel.publish_many([Message(1)]):
        with pytest.raises(ChannelClosedError):
            await attempt
    for publish in channel.publish_nowait, channel.publish_blocking:
        with pytest.raises(ChannelClosedError, match="'c'"):
            publish(1)
    assert (await subscriber.receive()).data == 1
    with pytest.raises(ChannelClosedError):
        await subscriber.receive()
    with pytest.raises(ChannelClosedError):
        subscriber.receive_nowait()
    with pytest.raises(ChannelClosedError):
        subscriber.receive_blocking()
    with pytest.raises(ChannelClosedError):
        await subscriber.receive_many()
    await channel.close()
    assert 'closed' in repr(channel)


async def test_closing_is_done_at_once():
    """What it returns may be left alone, so that plain threads can call it; -W error shows that nothing warns."""
    channel = Channel()
    channel.close()
    assert channel.is_closed
    subscriber = (other := Channel()).subscribe_nowait()
    subscriber.unsubscribe()
    assert other.subscriber_count == 0


async def test_dropping_the_channel_closes_it():
    channel = Channel()
    subscriber = await channel.subscribe()
    await channel.publish(1)
    task = asyncio.create_task(anext(aiter((await channel.subscribe(replay=False)))))
    await asyncio.sleep(0)
    del channel
    assert drain(subscriber) == [1]
    with pytest.raises(ChannelClosedError):
        await subscriber.receive()
    with pytest.raises(StopAsyncIteration):
        await task


async def test_unsubscribing():
    channel = Channel()
    subscriber = await channel.subscribe()
    await channel.publish(1)
    assert await channel.unsubscribe(subscriber) is None
    assert channel.subscriber_count == 0 and channel.stats.dropped == 1
    with pytest.raises(ChannelClosedError):
        await subscriber.receive()
    with pytest.raises(ChannelClosedError):
        subscriber.add('a')
    await subscriber.unsubscribe()
    assert [m async for m in subscriber] == []
    assert 'Subscriber' in repr(subscriber)


async def test_unsubscribing_what_is_not_of_this_channel():
    channel, other = Channel(), Channel()
    subscriber = await other.subscribe()
    with pytest.raises(ChannelError):
        await channel.unsubscribe(subscriber)
    with pytest.raises(TypeError):
        channel.unsubscribe(None)
    assert other.subscriber_count == 1


async def test_async_with():
    async with Channel() as channel:
        async with await channel.subscribe() as subscriber:
            await channel.publish(1)
            assert drain(subscriber) == [1]
        assert channel.subscriber_count == 0
    assert channel.is_closed
    with pytest.raises(KeyError):
        async with channel:
            raise KeyError


def test_with():
    with Channel() as channel:
        with channel.subscribe_nowait() as subscriber:
            channel.publish_nowait(1)
            assert drain(subscriber) == [1]
        assert channel.subscriber_count == 0
    assert channel.is_closed


def test_errors_are_ours():
    for error in ChannelClosedError, ChannelFullError, ChannelEmptyError, ChannelTimeoutError:
        assert issubclass(error, ChannelError) and issubclass(error, MTAIOError)
    assert issubclass(ChannelTimeoutError, asyncio.TimeoutError)


async def test_a_subclass():
    class Logged(Channel):
        def __init__(self, name):
            super().__init__(name, buffer_size=3)
            self.log = []

        def publish(self, data, topic=None, metadata=None):
            self.log.append(data)
            return super().publish(data, topic, metadata)
    channel = Logged('a')
    subscriber = await channel.subscribe()
    await channel.publish(1)
    assert channel.log == drain(subscriber) == [1] and isinstance(channel, Channel)


@pytest.mark.parametrize('call', [
    lambda c: c.publish(), lambda c: c.publish(1, 'a', {}, 4), lambda c: c.publish(1, data=2), lambda c: c.publish(1, nix=2),
    lambda c: c.broadcast(), lambda c: c.broadcast(1, {}, 3), lambda c: c.subscribe('a', 3), lambda c: c.publish_nowait(),
    lambda c: c.publish_blocking(1, timeout='x'), lambda c: c.unsubscribe(), lambda c: c.reach(1), lambda c: c.close(1)])
def test_wrong_calls(call):
    with pytest.raises(TypeError):
        call(Channel())
