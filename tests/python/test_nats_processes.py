"""Channels between processes, in Python and in C: exact counts, servers that die and come back, and what waits meanwhile."""
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtaio.events import Channel, EventEmitter
from mtaio.exceptions import ChannelFullError, NatsError, NatsHandlerError, NatsTimeoutError

nats = pytest.importorskip('mtaio.nats', reason='this package was built without libnats')
from nats_server import Server   # noqa: E402

PEER = Path(__file__).with_name('nats_peer.py')
EXAMPLE = Path(__file__).parents[2] / 'adapters/nats/nats_subscriber.py'
PROGRAMS = os.environ.get('MTAIO_NATS_PROGRAMS')
in_c = pytest.mark.skipif(not PROGRAMS or 'asan' in os.environ.get('LD_PRELOAD', ''),
                          reason='the C programs are of another build')


@pytest.fixture(scope='module')
def server():
    with Server() as s:
        yield s


def start(*command):
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def peer(url, what, *arguments):
    return start(sys.executable, PEER, url, what, *arguments)


def ready(process):
    assert process.stdout.readline() == 'ready\n', process.communicate()[1]


def last_line(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_200000_messages_between_two_processes(server):
    wanted = 200_000
    counting = peer(server.url, 'count', wanted)
    ready(counting)
    publishing = peer(server.url, 'publish', wanted)
    sent, taken = last_line(publishing), last_line(counting)
    assert sent == vars(nats.Stats(sent=wanted, unsent=0, dropped=0, taken=0, lost=0, refused=0))
    assert taken == {**vars(nats.Stats(sent=0, unsent=0, dropped=0, taken=wanted, lost=0, refused=0)),
                     'skipped': 0, 'told': 0}


def test_a_server_that_dies_loses_what_can_be_counted():
    with Server() as server:
        counting = peer(server.url, 'count', 3000)
        ready(counting)
        publishing = peer(server.url, 'steadily', 3000)
        ready(publishing)
        for _ in range(2):
            time.sleep(0.7)
            server.kill()
            time.sleep(0.2)
            server.start()
        sent, taken = last_line(publishing), last_line(counting)
    assert sent['sent'] == 3000 and sent['unsent'] == sent['dropped'] == sent['refused'] == 0
    assert taken['taken'] + taken['skipped'] == 3000
    assert taken['lost'] == taken['told'] == taken['skipped']


def test_requests_between_processes(server):
    serving = peer(server.url, 'serve')
    ready(serving)

    async def main():
        async with await nats.connect(server.url, send_asap=True) as connection:
            binding = await connection.bind(Channel(), 'shop', send='*', codec='str')
            for i in range(200):
                assert await binding.request('stock.tea', str(i)) == f'stock.tea: {i}'
            await binding.request('stop')

    asyncio.run(main())
    assert serving.communicate(timeout=30)[1] == '' and serving.returncode == 0


# --- C and Python

@in_c
def test_what_c_publishes_c_and_python_print_alike(server):
    subscribers = [start(f'{PROGRAMS}/nats_subscriber', server.url, 12), start(sys.executable, EXAMPLE, server.url, 12)]
    for subscriber in subscribers:
        while 'nats.connected' not in subscriber.stderr.readline():
            assert subscriber.poll() is None
    time.sleep(0.5)   # they bind after that, and the example does not wait for them
    publisher = start(f'{PROGRAMS}/nats_publisher', server.url, 12)
    assert publisher.communicate(timeout=60)[0] == ''.join(f'published {i}\n' for i in range(1, 13))
    printed = [subscriber.communicate(timeout=60)[0] for subscriber in subscribers]
    wanted = ''.join(f'order.{"sent" if i % 3 == 0 else "paid"}: {i}\n' for i in range(1, 13))
    assert printed == [wanted, wanted]


@in_c
def test_c_and_python_understand_each_others_errors(server):
    failing = subprocess.Popen([f'{PROGRAMS}/nats_asker', server.url, 'fail', 'in.c', 'no tea in C'],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ready(failing)

    async def main():
        async with await nats.connect(server.url, events=EventEmitter()) as connection:
            connection._events.on('error', lambda event: None)
            binding = await connection.bind(Channel(), 'shop', send='*', codec='str')
            with pytest.raises(NatsHandlerError, match='^no tea in C$'):
                await binding.request('in.c', timeout=3600)

            def fail(request):
                raise ValueError('no tea in Python')

            await binding.serve('in.python', fail)
            asking = start(f'{PROGRAMS}/nats_asker', server.url, 'ask', 'in.python')
            out, _ = await asyncio.to_thread(asking.communicate)
            assert out == 'MTAIO_EHANDLER: no tea in Python\n'

    asyncio.run(main())
    failing.communicate()   # which ends its input


@in_c
def test_what_python_publishes_c_prints(server):
    subscriber = start(f'{PROGRAMS}/nats_subscriber', server.url, 3)
    while 'nats.connected' not in subscriber.stderr.readline():
        assert subscriber.poll() is None

    async def main():
        async with await nats.connect(server.url) as connection:
            channel = Channel()
            await connection.bind(channel, 'shop', send='*', codec='str')
            number = 0
            while subscriber.poll() is None:   # it binds when it likes
                number += 1
                await channel.publish(f'{number} Grüße', topic='order.paid', metadata={'from': 'Python'})
                await asyncio.sleep(0.02)

    asyncio.run(main())
    lines = subscriber.communicate()[0].splitlines()
    first = int(lines[0].split()[1])
    assert lines == [f'order.paid: {first + i} Grüße' for i in range(3)]


# --- A server that goes and comes

class Restarted:
    """A connection whose server is killed; and for how long it does not publish when it is back, so that others can be
    there by then."""

    def __init__(self, resume=None):
        self.resume = resume

    async def __aenter__(self):
        self.server, self.events, self.told = Server(), EventEmitter(), asyncio.Queue()
        self.events.on('nats.*', lambda event: self.told.put_nowait((event.name, event.data)))
        self.connection = await nats.connect(self.server.url, events=self.events, retry=0.02, timeout=2,
                                             resume=self.resume)
        await self.is_told('nats.connected')
        self.channel = Channel()
        return self

    async def __aexit__(self, *exception):
        try:
            await self.connection.close(1)
        except NatsTimeoutError:
            pass
        self.server.end()

    async def is_told(self, name):
        while True:
            told, state = await self.told.get()
            if told == name:
                return state

    async def go(self):
        self.server.kill()
        await self.is_told('nats.disconnected')
        assert not self.connection.is_connected
        await asyncio.sleep(0.5)   # its sender may have been about to take what comes next

    async def come(self):
        self.server.start()
        state = await self.is_told('nats.reconnected')
        assert state.server == self.server.url and self.connection.is_connected


async def test_what_is_published_meanwhile_waits_and_is_sent():
    async with Restarted(resume=2) as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json')
        await r.go()
        for i in range(100):
            await r.channel.publish(i, topic='x')
        assert binding.stats.unsent == 100 and binding.stats.sent == 0
        other = None
        await r.come()
        other = await nats.connect(r.server.url)
        channel = Channel()
        subscriber = channel.subscribe_nowait()
        await other.bind(channel, 'shop', take='*', codec='json')
        got = [(await subscriber.receive(60)).data for _ in range(100)]
        assert got == list(range(100)) and binding.stats.unsent == 0
        await other.close()


@pytest.mark.parametrize('size', [1, 3, 4, 10, 3000])
async def test_publishing_waits_for_room(size):
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json', buffer_size=size)
        await r.go()
        room = max(size, 3)
        for i in range(room):
            r.channel.publish_nowait(i, topic='x')
        with pytest.raises(ChannelFullError):
            r.channel.publish_nowait(room, topic='x')
        waiting = asyncio.ensure_future(r.channel.publish(room, topic='x'))
        await asyncio.sleep(0.05)
        assert not waiting.done() and binding.stats.unsent == room
        await r.come()
        await waiting
        await binding.flush(60)
        assert binding.stats == nats.Stats(sent=room + 1, unsent=0, dropped=0, taken=0, lost=0, refused=0)


async def test_the_policy_error():
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json', buffer_size=10, overflow='error')
        await r.go()
        for i in range(10):
            await r.channel.publish(i, topic='x')
        with pytest.raises(ChannelFullError):
            await r.channel.publish(10, topic='x')
        assert binding.stats.unsent == 10
        await r.come()
        await binding.flush(60)
        assert binding.stats.sent == 10 and binding.stats.dropped == 0


@pytest.mark.parametrize('policy, left', [('drop_oldest', [6, 7, 8, 9]), ('drop_newest', [0, 1, 2, 3])])
async def test_the_policies_that_drop(policy, left):
    async with Restarted(resume=2) as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json', buffer_size=4, overflow=policy)
        await r.go()
        for i in range(10):
            await r.channel.publish(i, topic='x')
        assert binding.stats.unsent == 4 and binding.stats.dropped == 6
        await r.come()
        other, channel = await nats.connect(r.server.url), Channel()
        subscriber = channel.subscribe_nowait()
        await other.bind(channel, 'shop', take='*', codec='json')
        assert [(await subscriber.receive(60)).data for _ in range(4)] == left
        await binding.flush(60)
        assert binding.stats.sent == 4
        await other.close()


async def test_a_buffer_without_limit():
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json', buffer_size=0)
        await r.go()
        for i in range(70000):
            r.channel.publish_nowait(i, topic='x')
        assert binding.stats.unsent == 70000
        await r.come()
        await binding.flush(60)
        assert binding.stats.sent == 70000


async def test_closing_without_a_server_says_what_was_left():
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json', buffer_size=10)
        second = await r.connection.bind(r.channel, 'shop', send='*', codec='json')
        await r.go()
        for i in range(10):
            await r.channel.publish(i, topic='x')
        with pytest.raises(NatsTimeoutError):
            await second.flush(0.1)
        with pytest.raises(NatsTimeoutError):
            await second.close(0.1)
        with pytest.raises(NatsTimeoutError):
            await r.connection.close(0.1)
        for b in binding, second:
            assert b.stats == nats.Stats(sent=0, unsent=0, dropped=10, taken=0, lost=0, refused=0)
        await r.is_told('nats.closed')


async def test_publishers_that_wait_go_on_when_the_binding_ends():
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json', buffer_size=3)
        await r.go()
        for i in range(3):
            await r.channel.publish(i, topic='x')
        waiting = asyncio.ensure_future(r.channel.publish(3, topic='x'))
        await asyncio.sleep(0.02)
        with pytest.raises(NatsTimeoutError):
            await binding.close(0.05)
        assert await waiting == 0   # nobody is there any more
        assert binding.stats.dropped == 3


async def test_requests_without_a_server_fail_at_once():
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json')
        await r.go()
        with pytest.raises(NatsError):
            await binding.request('x')


async def test_handlers_serve_on_after_a_restart():
    async with Restarted() as r:
        binding = await r.connection.bind(r.channel, 'shop', send='*', codec='json')
        await binding.serve('x', lambda request: request.data + 1)
        await r.go()
        await r.come()
        assert await binding.request('x', 1) == 2
