"""Durable bindings: what is sent is kept by a stream, and acknowledged when it has been handled."""
import asyncio
import datetime
import subprocess
import sys

import pytest

from mtaio.events import Channel, EventEmitter
from mtaio.exceptions import NatsError

nats = pytest.importorskip('mtaio.nats', reason='this package was built without libnats')
from nats_server import Server   # noqa: E402


@pytest.fixture(scope='module')
def server():
    with Server('-js') as s:
        yield s


@pytest.fixture
def prefix(request):
    """A world, and so a stream, of the test's own."""
    return ''.join(c if c.isalnum() else '-' for c in request.node.name)


class Sender:
    def __init__(self, server, prefix, **how):
        self.server, self.prefix, self.how = server, prefix, how

    async def __aenter__(self):
        self.connection = await nats.connect(self.server.url, retry=0.02)
        self.channel = Channel()
        self.binding = await self.connection.bind(self.channel, self.prefix, send='*', codec='json',
                                                  durable=nats.Stream(**self.how))
        return self

    async def __aexit__(self, *exception):
        await self.connection.close()

    async def send(self, *numbers, topic='x'):
        for number in numbers:
            await self.channel.publish(number, topic=topic, metadata={'n': str(number)})
        await self.binding.flush(60)


async def taking(server, prefix, events=None, **how):
    """A connection, a binding and a subscriber of what comes."""
    connection, channel = await nats.connect(server.url, retry=0.02, events=events), Channel()
    subscriber = channel.subscribe_nowait()
    binding = await connection.bind(channel, prefix, take='*', codec='json', durable=nats.Stream(**how))
    return connection, binding, subscriber


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


async def test_what_was_sent_is_there_for_those_who_come_later(server, prefix):
    async with Sender(server, prefix) as s:
        await s.send(*range(100))
        assert s.binding.stats.acknowledged == 100 and s.binding.stats.unacknowledged == 0
    connection, binding, subscriber = await taking(server, prefix, start='all')
    for i in range(100):
        message = await subscriber.receive(60)
        assert (message.data, message.topic, message.metadata) == (i, 'x', {'n': str(i)})
    await until(lambda: binding.stats.open == 0)
    assert binding.stats.taken == 100
    await connection.close()


@pytest.mark.parametrize('start, wanted', [('all', [1, 2, 3, 4]), ('last', [3, 4]), (2, [2, 3, 4]), ('new', []),
                                           (datetime.datetime(2000, 1, 1), [1, 2, 3, 4]),
                                           (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(1), [])])
async def test_where_a_consumer_begins(server, prefix, start, wanted):
    async with Sender(server, prefix) as s:
        await s.send(1, 2, topic='a')
        await s.send(3, topic='a')
        await s.send(4, topic='b')
        connection, _, subscriber = await taking(server, prefix, start=start)
        assert [(await subscriber.receive(60)).data for _ in wanted] == wanted
        with pytest.raises(asyncio.TimeoutError):
            await subscriber.receive(0.05)
        await connection.close()


async def test_a_consumer_goes_on_where_it_was(server, prefix):
    async with Sender(server, prefix) as s:
        await s.send(1, 2)
        connection, binding, subscriber = await taking(server, prefix, consumer='c', start='all')
        assert [(await subscriber.receive(60)).data for _ in range(2)] == [1, 2]
        await until(lambda: binding.stats.open == 0)
        await connection.close()
        await s.send(3)
        connection, _, subscriber = await taking(server, prefix, consumer='c', start='all')
        assert (await subscriber.receive(60)).data == 3
        await connection.close()


async def test_a_server_that_is_killed_loses_nothing(prefix):
    with Server('-js') as server:
        async with Sender(server, prefix) as s:
            connection, binding, subscriber = await taking(server, prefix, consumer='c', start='all', ack_wait=1)
            for i in range(50):
                await s.channel.publish(i, topic='x')
            server.kill()
            for i in range(50, 100):
                await s.channel.publish(i, topic='x')
            server.start()
            seen, unmarked = set(), []
            while len(seen) < 100:   # what was on its way when the server ended comes again, marked, and later than others
                message = await subscriber.receive()
                if 'mtaio-delivery' not in message.metadata:
                    assert message.data not in seen
                    unmarked.append(message.data)
                seen.add(message.data)
            assert seen == set(range(100)) and unmarked == sorted(unmarked)
            await s.binding.flush(60)
            assert s.binding.stats.acknowledged == 100
            await connection.close()


# --- Emitted

async def emitting(server, prefix, handler, **how):
    emitter = EventEmitter()
    emitter.on('*', handler=handler)
    connection, binding, _ = await taking(server, prefix, emitter=emitter, events=emitter, start='all', **how)
    return connection, binding, emitter


async def test_messages_are_acknowledged_when_their_handlers_have_finished(server, prefix):
    release, seen = asyncio.Event(), []

    async def handle(event):
        if event.name.startswith('nats.'):
            return
        seen.append((event.name, event.data, event.metadata))
        await release.wait()

    async with Sender(server, prefix) as s:
        await s.send(1, 2)
        connection, binding, _ = await emitting(server, prefix, handle)
        await until(lambda: len(seen) == 2)
        assert seen == [('x', 1, {'n': '1'}), ('x', 2, {'n': '2'})]
        assert binding.stats.open == 2 and binding.stats.taken == 2
        release.set()
        await until(lambda: binding.stats.open == 0)
        await connection.close()


async def test_messages_can_be_worked_on_elsewhere(server, prefix):
    """As docs/nats.md has it: a handler hands over, and waits until that is done."""
    work = asyncio.Queue()

    async def hand_over(event):
        if event.name == 'x':
            done = asyncio.get_running_loop().create_future()
            await work.put((event.data, event.metadata.get('mtaio-delivery'), done))
            await done

    async with Sender(server, prefix) as s:
        await s.send(1, 2, 3)
        connection, binding, _ = await emitting(server, prefix, hand_over, max_open=2, again=0.02)
        (a, _, first), (b, _, second) = await work.get(), await work.get()
        await asyncio.sleep(0.05)
        assert (a, b) == (1, 2) and work.empty() and binding.stats.open == 2
        second.set_result(None)
        c, again, third = await work.get()
        assert (c, again) == (3, None)
        first.set_exception(ValueError('not yet'))
        a, again, first = await work.get()
        assert (a, again) == (1, '2')
        first.set_result(None)
        third.set_result(None)
        await until(lambda: binding.stats.open == 0)
        await connection.close()


async def test_what_fails_comes_again_and_says_so(server, prefix):
    deliveries, errors = [], []

    def handle(event):
        if event.name == 'x':
            deliveries.append(event.metadata.get('mtaio-delivery'))
            if len(deliveries) < 3:
                raise ValueError('not yet')
        elif event.name == 'error':
            errors.append(str(event.data))

    async with Sender(server, prefix) as s:
        await s.send(1)
        connection, binding, _ = await emitting(server, prefix, handle, again=0.02)
        await until(lambda: len(deliveries) == 3 and binding.stats.open == 0)
        assert deliveries == [None, '2', '3'] and errors == ['not yet', 'not yet']
        assert binding.stats.redelivered == 2
        await connection.close()


async def test_what_always_fails_is_dead(server, prefix):
    dead, tries = [], []

    def handle(event):
        if event.name == 'nats.dead':
            dead.append(event.data)
        elif event.name == 'x':
            tries.append(event.data)
            raise ValueError

    graves = Channel()
    subscriber = graves.subscribe_nowait()
    async with Sender(server, prefix) as s:
        await s.send(1)
        second = await s.connection.bind(graves, prefix, take='dead.*', codec='json', durable=nats.Stream())
        connection, binding, emitter = await emitting(server, prefix, handle, again=0.02, max_deliveries=2,
                                                      dead_topic='dead.letters')
        emitter.on('error', handler=lambda event: None)
        message = await subscriber.receive(60)
        assert message.data == 1 and message.metadata['mtaio-dead-topic'] == 'x'
        await until(lambda: dead)
        assert tries == [1, 1] and binding.stats.dead == 1 and dead[0].count == 1
        assert second.stats.taken == 1
        await connection.close()


async def test_what_cannot_be_decoded_is_refused_once(server, prefix):
    seen = []
    async with await nats.connect(server.url) as connection:
        channel = Channel()
        binding = await connection.bind(channel, prefix, send='*', durable=nats.Stream())
        await channel.publish(b'{', topic='x')
        await channel.publish(b'1', topic='x')
        await binding.flush(60)
        second, other, _ = await emitting(server, prefix, lambda event: seen.append((event.name, event.data)))
        await until(lambda: {'x', 'nats.refused'} <= {name for name, _ in seen} and other.stats.open == 0)
        assert ('x', 1) in seen
        assert [state.count for name, state in seen if name == 'nats.refused'] == [1]
        assert other.stats.refused == 1 and len([1 for name, _ in seen if name == 'x']) == 1
        await second.close()


KILLED = """
import asyncio, os, sys
from mtaio import nats
from mtaio.events import Channel, EventEmitter

async def main():
    emitter = EventEmitter()
    @emitter.on('x')
    async def handle(event):
        if event.data == 5:
            os._exit(9)
    connection = await nats.connect(sys.argv[1])
    await connection.bind(Channel(), sys.argv[2], take='*', codec='json',
                          durable=nats.Stream(consumer='c', start='all', ack_wait=0.5, max_open=1, emitter=emitter))
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_consumer_that_is_killed_goes_on_where_it_was(server, prefix):
    async with Sender(server, prefix) as s:
        await s.send(*range(10))
        process = await asyncio.to_thread(subprocess.run, [sys.executable, '-c', KILLED, server.url, prefix], timeout=30)
        assert process.returncode == 9
        seen = []
        connection, binding, _ = await emitting(
            server, prefix, lambda event: event.name == 'x' and seen.append((event.data, event.metadata)),
            consumer='c', ack_wait=0.5, max_open=1)
        await until(lambda: len(seen) == 5)
        assert [data for data, _ in seen] == [5, 6, 7, 8, 9]
        assert seen[0][1]['mtaio-delivery'] == '2'
        await connection.close()


# --- Arguments

async def test_arguments_of_streams(server, prefix):
    async with await nats.connect(server.url) as c:
        for wrong in {'start': 'sometimes'}, {'window': 0}, {'max_open': -1}, {'max_age': -1}, {'again': float('nan')}, \
                {'start': 0}:
            with pytest.raises(ValueError):
                await c.bind(Channel(), prefix, take='*', durable=nats.Stream(**wrong))
        for wrong in {'emitter': 5}, {'name': 5}, {'consumer': b'c'}, {'max_bytes': 'x'}:
            with pytest.raises(TypeError):
                await c.bind(Channel(), prefix, take='*', durable=nats.Stream(**wrong))
        with pytest.raises(TypeError):
            await c.bind(Channel(), prefix, take='*', durable={'name': 'x'})
        with pytest.raises(NatsError):
            await c.bind(Channel(), prefix, take='*', durable=nats.Stream(name='a b'))
        binding = await c.bind(Channel(), prefix, send='*', durable=nats.Stream())
        with pytest.raises(NatsError):
            await binding.request('x')   # the stream would take it for a message


async def test_a_server_without_streams_says_so(prefix):
    with Server() as server:
        async with await nats.connect(server.url) as connection:
            with pytest.raises(NatsError):
                await connection.bind(Channel(), prefix, send='*', durable=nats.Stream())
