"""Garbage, leaks and lack of memory: what channels hold is seen by the collector, and nothing of it stays."""
import asyncio
import gc
import sys
import weakref

import pytest

from mtaio.events import Channel, Message
from mtaio.exceptions import ChannelClosedError, ChannelEmptyError, ChannelError


class Node:
    pass


# --- Hazard 53: cycles

def in_a_buffer(node):
    node.channel = Channel()
    node.subscriber = node.channel.subscribe_nowait()
    node.channel.publish_nowait(node)


def in_a_buffer_of_the_subscriber_alone(node):
    channel = Channel()
    node.subscriber = channel.subscribe_nowait()
    channel.publish_nowait([node])


def in_metadata(node):
    node.channel = Channel()
    node.subscriber = node.channel.subscribe_nowait()
    node.channel.publish_nowait(1, 'a', {'node': node})


def in_a_replay(node):
    node.channel = Channel(replay=3)
    node.channel.publish_nowait(node)


def received(node):
    node.channel = Channel()
    node.subscriber = node.channel.subscribe_nowait()
    node.channel.publish_nowait(node)
    node.message = node.subscriber.receive_nowait()


def with_several_subscribers(node):
    node.channel = Channel()
    node.subscribers = [node.channel.subscribe_nowait() for _ in range(3)]
    node.channel.publish_nowait(node)
    node.subscribers[0].receive_nowait()


def never_awaited(node):
    node.channel = Channel()
    node.operation = node.channel.close()


def publishing_in_line(node):
    async def main():
        node.channel = Channel(buffer_size=1)
        node.subscriber = node.channel.subscribe_nowait()
        node.channel.publish_nowait(1)
        node.operation = node.channel.publish(node)
        node.operation.send(None)
    asyncio.run(main())


def receiving(node):
    async def main():
        node.channel = Channel()
        node.subscriber = node.channel.subscribe_nowait()
        node.operation = node.subscriber.receive()
        node.future = node.operation.send(None)
    asyncio.run(main())


def receiving_task(node):
    async def main():
        node.channel = Channel()
        node.subscriber = node.channel.subscribe_nowait()

        async def consume(node):
            async for m in node.subscriber:
                node.message = m
        node.task = asyncio.ensure_future(consume(node))
        await asyncio.sleep(0)
        node.task._log_destroy_pending = False
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()


def in_a_subclass(node):
    class Own(Channel):
        pass
    node.channel = Own()
    node.channel.node = node


CYCLES = [in_a_buffer, in_a_buffer_of_the_subscriber_alone, in_metadata, in_a_replay, received, with_several_subscribers,
          never_awaited, publishing_in_line, receiving, receiving_task, in_a_subclass]


@pytest.mark.parametrize('make', CYCLES, ids=lambda f: f.__name__)
def test_cycles_are_collected(make, collected):
    node = Node()
    gone = weakref.ref(node)
    make(node)
    del node
    collected()
    assert gone() is None


def test_what_is_in_use_is_not_collected(collected):
    """The collector sees what is in buffers, and that it is not garbage while somebody can receive it."""
    channel = Channel(replay=1)
    subscriber, other = channel.subscribe_nowait(), channel.subscribe_nowait()
    for i in range(10):
        node = Node()
        node.channel, node.number, node.self = channel, i, node
        channel.publish_nowait(node)
    del node, channel
    collected()
    assert [other.receive_nowait().data.number for _ in range(5)] == [0, 1, 2, 3, 4]
    del other
    collected()
    assert [subscriber.receive_nowait().data.number for _ in range(10)] == list(range(10))


def test_the_collector_runs_at_any_moment():
    """Also while messages are on their way."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        channel = Channel(buffer_size=3, overflow='drop_oldest')
        subscribers = [channel.subscribe_nowait() for _ in range(3)]
        for i in range(300):
            node = Node()
            node.self = node
            channel.publish_nowait(node, 'a', {'node': node})
            if i % 3 == 0:
                subscribers[i % 2].receive_nowait()
    finally:
        gc.set_threshold(*before)


# --- Nothing stays

def round_of_publishing(channel, subscribers):
    channel.publish_nowait([], 'a', {'k': 1})
    channel.publish_nowait('x')
    for s in subscribers:
        s.receive_nowait(), s.receive_nowait()


def round_of_subscribing(channel, subscribers):
    one = channel.subscribe_nowait(['a.*', 'b'])
    one.add('c')
    one.drop('b')
    channel.publish_nowait([1])
    for s in subscribers:
        s.receive_nowait()


def round_of_channels(channel, subscribers):
    one = Channel('name', buffer_size=2, overflow='drop_oldest', replay=2)
    two = one.subscribe_nowait()
    for i in range(4):
        one.publish_nowait([i], 'a')
    two.receive_nowait()
    repr(one), repr(two), one.stats, two.stats, two.topics


def round_of_errors(channel, subscribers):
    for attempt in (lambda: channel.publish_nowait(1, 'a.*'), lambda: channel.subscribe_nowait('a*'),
                    lambda: subscribers[0].receive_nowait(), lambda: subscribers[0].receive_blocking(0),
                    lambda: channel.publish_nowait()):
        try:
            attempt()
        except (ChannelError, TypeError):
            pass


async def round_of_waiting(channel, subscribers):
    task = asyncio.ensure_future(subscribers[0].receive(timeout=50))
    other = asyncio.ensure_future(subscribers[1].receive())
    await asyncio.sleep(0)
    other.cancel()
    await channel.publish([1])
    await task
    for _ in range(3):
        await asyncio.sleep(0)
    for s in subscribers[1:]:
        s.receive_nowait()


async def round_of_waiting_to_publish(channel, subscribers):
    full = Channel(buffer_size=1)
    subscriber = full.subscribe_nowait()
    full.publish_nowait(1)
    tasks = [asyncio.ensure_future(full.publish([i], 'a')) for i in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await subscriber.receive()
    await asyncio.sleep(0)
    full.close()
    await asyncio.gather(*tasks, return_exceptions=True)


ROUNDS = [round_of_publishing, round_of_subscribing, round_of_channels, round_of_errors, round_of_waiting,
          round_of_waiting_to_publish]


@pytest.mark.parametrize('rounds', ROUNDS, ids=lambda f: f.__name__)
def test_nothing_leaks(rounds):
    """Refcounts and blocks after many rounds are those after few; nothing is left to be collected either."""
    channel = Channel()
    subscribers = [channel.subscribe_nowait() for _ in range(3)]
    loop = asyncio.new_event_loop()

    def repeat(n):
        async def main():
            for _ in range(n):
                result = rounds(channel, subscribers)
                if result is not None:
                    await result
        loop.run_until_complete(main())
        gc.collect()
        return sys.getallocatedblocks()
    repeat(50)
    blocks = [repeat(200) for _ in range(5)]
    loop.close()
    assert min(blocks[2:]) - blocks[1] < 100, blocks   # spare objects are kept, but each round would leave one


# --- Hazard 58: no memory

_testcapi = pytest.importorskip('_testcapi')


def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError


def test_no_memory_to_receive():
    """A message for whose copy there was no memory is received later, and still says what was missed."""
    channel = Channel()
    subscriber = channel.subscribe_nowait(buffer_size=1, overflow='drop_oldest')
    failures, kept = 0, []
    for n in range(5):
        for i in range(3):
            channel.publish_nowait([i])
        kept.append([Message(0) for _ in range(300)])   # so that none is to be had but by allocation
        m = None
        _testcapi.set_nomemory(n, n + 1)
        try:
            m = subscriber.receive_nowait()
        except MemoryError:
            failures += 1
        finally:
            _testcapi.remove_mem_hooks()
        assert (m or subscriber.receive_nowait()) == Message([2], missed=2)
        with pytest.raises(ChannelEmptyError):
            subscriber.receive_nowait()
    assert failures > 0


@pytest.mark.parametrize('action', [
    lambda c, s: c.publish_nowait([1], 'a', {'k': 1}), lambda c, s: drive(c.publish([1], 'a')),
    lambda c, s: drive(c.publish_many([Message([i]) for i in range(3)])),
    lambda c, s: drive(c.subscribe(['a', 'b.*'])), lambda c, s: c.subscribe_nowait('a', buffer_size=2),
    lambda c, s: drive(s.receive()), lambda c, s: drive(s.receive_many()), lambda c, s: s.receive_blocking(),
    lambda c, s: (repr(c), repr(s), c.stats, s.stats, s.topics), lambda c, s: Channel('x', replay=3),
    lambda c, s: s.add('x'), lambda c, s: Message(1, 'a', {}, 2) == Message(1), lambda c, s: repr(Message(1))])
def test_no_memory(action):
    """MemoryError or success, with nothing lost or leaked; afterwards everything works."""
    for _ in range(2):
        channel = Channel(buffer_size=1000)
        subscriber = channel.subscribe_nowait()
        succeeded = 0
        for n in range(1, 300):
            if subscriber.stats.waiting == 0:
                for i in range(3):
                    channel.publish_nowait([i])
            spare = [Message([0]) for _ in range(300 if n % 2 else 1)]
            _testcapi.set_nomemory(n, n + 1)
            try:
                action(channel, subscriber)
                succeeded += 1
            except MemoryError:
                succeeded = 0
            finally:
                _testcapi.remove_mem_hooks()
            del spare
            if succeeded > 10:
                break
        assert succeeded > 10
        stats = subscriber.stats
        assert stats.reached == stats.delivered + stats.dropped + stats.waiting
        while True:
            try:
                subscriber.receive_nowait()
            except (ChannelEmptyError, ChannelClosedError):
                break
        assert channel.publish_nowait('after', 'x') >= 1 and subscriber.receive_nowait().data == 'after'
