"""Channels over NATS: what is sent and taken, how data become bytes, what is refused, what is counted; over a server of the
tests' own."""
import asyncio
import json
import math

import pytest

from mtaio.events import Channel, EventEmitter, TopicChannel
from mtaio.exceptions import (ChannelClosedError, ChannelError, ChannelFullError, MTAIOError, NatsClosedError, NatsError,
                              NatsHandlerError, NatsTimeoutError)

nats = pytest.importorskip('mtaio.nats', reason='this package was built without libnats')
from mtaio._binding import codec_of   # noqa: E402
from nats_server import Server, free_port   # noqa: E402

EVERYTHING = {'send': '*', 'take': '*'}


@pytest.fixture(scope='module')
def server():
    with Server() as s:
        yield s


class Side:
    """A channel that is bound over a connection of its own, and what is received of it."""

    def __init__(self, url, prefix='shop', channel=None, **options):
        self.url, self.prefix, self.options = url, prefix, {**EVERYTHING, 'codec': 'json', **options}
        self.channel = channel if channel is not None else Channel()
        self.events = EventEmitter()
        self.told = []
        self.events.on('nats.*', lambda event: self.told.append((event.name, event.data)))

    async def __aenter__(self):
        self.connection = await nats.connect(self.url, events=self.events, retry=0.02)
        self.subscriber = self.channel.subscribe_nowait(['*'])
        self.binding = await self.connection.bind(self.channel, self.prefix, **self.options)
        return self

    async def __aexit__(self, *exception):
        await self.connection.close()

    async def receive(self):
        return await self.subscriber.receive(60)

    async def receives(self, data, topic, **more):
        message = await self.receive()
        assert (message.data, message.topic) == (data, topic)
        assert message.metadata == more.get('metadata', {})

    async def receives_nothing(self, seconds=0.1):
        with pytest.raises(asyncio.TimeoutError):
            await self.subscriber.receive(seconds)

    async def is_told(self, name):
        """The first event of that name that was not asked for yet."""
        while True:
            for i, (told, state) in enumerate(self.told):
                if told == name:
                    del self.told[i]
                    return state
            await asyncio.sleep(0.005)


# --- There and back

async def test_what_is_published_on_one_side_is_received_on_the_other(server):
    async with Side(server.url) as a, Side(server.url) as b:
        assert await a.channel.publish({'id': 42}, topic='order.paid') == 2   # the subscriber here, and the binding
        await b.receives({'id': 42}, 'order.paid')
        await b.channel.publish([1, 'ä', None, 2.5], topic='order.sent')
        await a.receives({'id': 42}, 'order.paid')
        await a.receives([1, 'ä', None, 2.5], 'order.sent')


async def test_nothing_comes_back(server):
    async with Side(server.url) as a, Side(server.url) as b:
        await a.channel.publish(1, topic='x')
        await b.receives(1, 'x')
        await b.receives_nothing()
        await a.receives(1, 'x')
        await a.receives_nothing()
        assert a.binding.stats.taken == 0 and b.binding.stats.sent == 0


async def test_metadata_are_headers(server):
    async with Side(server.url) as a, Side(server.url) as b:
        await a.channel.publish(1, topic='x', metadata={'from': 'here', 'Language': 'Français'})
        await b.receives(1, 'x', metadata={'from': 'here', 'Language': 'Français'})


async def test_a_message_without_topic_reaches_those_who_take_everything(server):
    async with Side(server.url) as a, Side(server.url) as b, Side(server.url, take='order.*') as c:
        await a.channel.publish('all')
        await b.receives('all', None)
        await c.receives_nothing()


async def test_only_what_is_to_be_sent_goes_out_and_only_what_is_to_be_taken_comes_in(server):
    async with Side(server.url, send=['order.**', 'news'], take=None) as a, \
            Side(server.url, send=None, take=['order.*', 'news']) as b:
        for topic in 'secret', 'order.paid', 'order.paid.twice', 'news':
            await a.channel.publish(topic, topic=topic)
        await b.receives('order.paid', 'order.paid')
        await b.receives('news', 'news')
        await b.channel.publish(1, topic='news')   # it sends nothing
        await b.receives(1, 'news')
        assert [(await a.receive()).topic for _ in range(4)] == ['secret', 'order.paid', 'order.paid.twice', 'news']
        await a.receives_nothing()
        assert a.binding.stats.sent == 3


async def test_prefixes_are_worlds_of_their_own(server):
    async with Side(server.url, 'shop.a') as a, Side(server.url, 'shop.b') as b:
        await a.channel.publish(1, topic='x')
        await a.binding.flush()
        await b.receives_nothing()


async def test_a_topic_channel_can_be_bound(server):
    topics = TopicChannel()
    async with await nats.connect(server.url) as connection, Side(server.url) as b:
        await connection.bind(topics, 'shop', take='*', send='*', codec='json')
        subscriber = await topics.subscribe('news.*')
        await b.channel.publish(1, topic='news.today')
        assert (await subscriber.receive(60)).data == 1
        await topics.publish('news.tomorrow', 2)
        await b.receives(1, 'news.today')
        await b.receives(2, 'news.tomorrow')


async def test_a_channel_can_be_bound_more_than_once(server):
    async with Side(server.url) as a, Side(server.url, 'other') as b, Side(server.url) as c:
        bridge = await a.connection.bind(a.channel, 'other', send='*', take='*', codec='json')
        await a.channel.publish(1, topic='x')
        await b.receives(1, 'x')
        await c.channel.publish(2, topic='x')   # comes by the one, goes on by the other
        await b.receives(2, 'x')
        assert bridge.stats.sent == 2


async def test_order_is_kept_and_nothing_is_lost(server):
    async with Side(server.url) as a, Side(server.url) as b:
        for i in range(5000):
            await a.channel.publish(i, topic=f'x.{i % 7}')
        got = []
        while len(got) < 5000:
            got += [message.data for message in await b.subscriber.receive_many(timeout=60)]
        assert got == list(range(5000))
        assert a.binding.stats.sent == b.binding.stats.taken == 5000


async def test_packed_messages_are_the_same(server):
    async with Side(server.url, pack=True) as a, Side(server.url) as b:
        for i in range(1000):
            await a.channel.publish(i, topic='x', metadata={'m': 'x'} if i % 100 == 0 else None)
        await a.binding.flush()
        for i in range(1000):
            await b.receives(i, 'x', metadata={'m': 'x'} if i % 100 == 0 else {})
        assert a.binding.stats.sent == b.binding.stats.taken == 1000


async def test_any_thread_may_publish(server):
    async with Side(server.url) as a, Side(server.url) as b:
        await asyncio.to_thread(lambda: [a.channel.publish_blocking(i, topic='x') for i in range(100)])
        assert [(await b.receive()).data for _ in range(100)] == list(range(100))


# --- Codecs

@pytest.mark.parametrize('codec, data', [
    ('bytes', b'\x00\xff'), ('bytes', b''), ('str', 'Grüße\x00'), ('str', ''), ('json', {'a': [1, None, True, 'ä']}),
    ('json', None), ('json', 10**40)])
async def test_codecs_by_name(server, codec, data):
    async with Side(server.url, codec=codec) as a, Side(server.url, codec=codec) as b:
        await a.channel.publish(data, topic='x')
        await b.receives(data, 'x')


async def test_what_is_like_bytes_is_sent_as_such_and_none_is_empty(server):
    async with Side(server.url, codec='bytes') as a, Side(server.url, codec='bytes') as b:
        for data in bytearray(b'ab'), memoryview(b'cd'), None:
            await a.channel.publish(data, topic='x')
        assert [(await b.receive()).data for _ in range(3)] == [b'ab', b'cd', b'']


async def test_without_codec_data_are_bytes(server):
    channel = Channel()
    async with await nats.connect(server.url) as connection, Side(server.url, codec='str') as b:
        await connection.bind(channel, 'shop', send='*')
        await channel.publish(b'text', topic='x')
        await b.receives('text', 'x')


class Reversed:
    def encode(self, data):
        return data[::-1].encode()

    def decode(self, data):
        return data.decode()[::-1]


async def test_a_codec_of_ones_own(server):
    async with Side(server.url, codec=Reversed()) as a, Side(server.url, codec=Reversed()) as b, \
            Side(server.url, codec='str') as c:
        await a.channel.publish('abc', topic='x')
        await b.receives('abc', 'x')
        await c.receives('cba', 'x')


def deep():
    data = []
    for _ in range(100000):
        data = [data]
    return data


@pytest.mark.parametrize('codec, data', [
    ('bytes', 'text'), ('bytes', 5), ('str', b'bytes'), ('str', '\ud800'), ('json', math.nan), ('json', {1, 2}),
    ('json', '\ud800'), ('json', deep()), (Reversed(), 5)], ids=range(9))
async def test_what_cannot_be_encoded_is_refused_counted_and_told(server, codec, data):
    async with Side(server.url, codec=codec) as a, Side(server.url, codec='bytes') as b:
        assert await a.channel.publish(data, topic='x') == 2
        state = await a.is_told('nats.refused')
        assert state.count == 1 and state.prefix == 'shop' and 'Error' in state.text
        assert a.binding.stats == nats.Stats(sent=0, unsent=0, dropped=0, taken=0, lost=0, refused=1)
        await a.binding.flush(60)
        assert (await a.receive()).data is data   # here, nothing is wrong with it
        await b.receives_nothing(0.02)


async def test_an_encoder_must_make_bytes(server):
    class Wrong:
        def encode(self, data):
            return 'text'

        def decode(self, data):
            return data

    async with Side(server.url, codec=Wrong()) as a:
        await a.channel.publish(1, topic='x')
        assert 'encode must return bytes, not str' in (await a.is_told('nats.refused')).text


@pytest.mark.parametrize('codec, data', [
    ('json', b'{"id": '), ('json', b''), ('json', b'NaN'), ('json', b'\xff\xfe1\x00'), ('json', b'"\x80"'),
    ('json', b'[' * 200000), ('str', b'\x80'), ('str', b'\xed\xa0\x80'), (Reversed(), b'\xff')])
async def test_what_cannot_be_decoded_reaches_nobody_and_is_told(server, codec, data):
    async with Side(server.url, codec='bytes', take=None) as a, Side(server.url, codec=codec) as b:
        await a.channel.publish(data, topic='x')
        state = await b.is_told('nats.refused')
        assert state.count == 1 and state.prefix == 'shop' and 'Error' in state.text
        await a.channel.publish(b'"fine"', topic='x')
        assert 'fine' in (await b.receive()).data or codec != 'json'
        assert b.binding.stats == nats.Stats(sent=0, unsent=0, dropped=0, taken=1, lost=0, refused=1)


@pytest.mark.parametrize('metadata', [{1: 'a'}, {'a': 1}, {'a': None}, {'a': 'x\x00'}, {'a\x00': 'x'}, {'a': '\ud800'},
                                      {'a b': 'x'}, {'a:b': 'x'}, {'a': 'x\r\ny'}, {'': 'x'}], ids=ascii)
async def test_metadata_that_cannot_be_headers_are_refused(server, metadata):
    async with Side(server.url) as a:
        await a.channel.publish(1, topic='x', metadata=metadata)
        assert (await a.is_told('nats.refused')).count == 1
        await a.binding.flush(60)
        assert a.binding.stats.refused == 1 and a.binding.stats.sent == 0
        assert (await a.receive()).metadata == metadata


@pytest.mark.parametrize('topic', ['two words', 'tab\tbed', 'x.>', '$mtaio-x', 'x' * 5000])
async def test_topics_that_are_no_subjects_are_refused(server, topic):
    async with Side(server.url) as a:
        await a.channel.publish(1, topic=topic)
        assert (await a.is_told('nats.refused')).count == 1
        assert a.binding.stats.refused == 1


async def test_what_the_server_does_not_take_is_refused(server):
    async with Side(server.url, codec='bytes') as a, Side(server.url, codec='bytes') as b:
        await a.channel.publish(bytes(2 << 20), topic='x')
        await a.channel.publish(bytes(1 << 20), topic='x')
        assert 'larger' in (await a.is_told('nats.refused')).text
        assert len((await b.receive()).data) == 1 << 20


# --- Arguments

async def refused(kind, awaitable):
    with pytest.raises(kind) as caught:
        await awaitable
    return str(caught.value)


async def test_arguments_of_bind(server):
    channel = Channel()
    async with await nats.connect(server.url) as c:
        assert 'nothing to send' in await refused(ValueError, c.bind(channel, 'shop'))
        assert 'nothing to send' in await refused(ValueError, c.bind(channel, 'shop', send=[], take=()))
        assert 'codec' in await refused(ValueError, c.bind(channel, 'shop', take='*', codec='xml'))
        assert 'codec' in await refused(TypeError, c.bind(channel, 'shop', take='*', codec=5))
        assert 'overflow' in await refused(ValueError, c.bind(channel, 'shop', send='*', overflow='explode'))
        assert 'buffer_size' in await refused(ValueError, c.bind(channel, 'shop', send='*', buffer_size=-1))
        assert 'Channel' in await refused(TypeError, c.bind('channel', 'shop', send='*'))
        await refused(TypeError, c.bind(channel, 5, send='*'))
        await refused(TypeError, c.bind(channel, 'shop', send=[5]))
        await refused(TypeError, c.bind(channel, 'shop', take=5))
        await refused(ValueError, c.bind(channel, 'sh\x00p', take='*'))
        await refused(ValueError, c.bind(channel, 'shop', take='\x00'))
        for prefix in '', 'a b', '*', 'a..b', '$mtaio-x':
            await refused(NatsError, c.bind(channel, prefix, take='*'))
        for pattern in '', 'lo*', 'a..b':
            await refused(NatsError, c.bind(channel, 'shop', take=pattern))
            await refused(NatsError, c.bind(channel, 'shop', send=['*', pattern]))
        channel.close()
        await refused(ChannelError, c.bind(channel, 'shop', send='*'))


async def test_arguments_of_connect(server):
    for arguments in {'timeout': -1}, {'timeout': math.nan}, {'retry': -1}, {'resume': math.nan}:
        await refused(ValueError, nats.connect(server.url, **arguments))
    await refused(TypeError, nats.connect(server.url, events=5))
    await refused(TypeError, nats.connect(server.url, user=5))
    await refused(TypeError, nats.connect(server.url, tls_ca=5))
    await refused(NatsError, nats.connect([]))
    await refused(NatsError, nats.connect('http://127.0.0.1'))
    await refused(NatsError, nats.connect(server.url, tls_ca='/nonexistent'))


async def test_no_server_is_said():
    error = await refused(NatsError, nats.connect(f'nats://127.0.0.1:{free_port()}'))
    assert 'cannot connect' in error and 'No server' in error


async def test_a_list_of_servers(server):
    async with await nats.connect([f'nats://127.0.0.1:{free_port()}', server.url], name='test') as connection:
        assert connection.is_connected


async def test_logging_in():
    with Server('--user', 'ada', '--pass', 'secret') as s:
        await refused(NatsError, nats.connect(s.url))
        await refused(NatsError, nats.connect(s.url, user='ada', password='wrong'))
        async with await nats.connect(s.url, user='ada', password='secret') as connection:
            assert connection.is_connected


def test_exceptions_are_of_the_family():
    assert issubclass(NatsError, ChannelError) and issubclass(NatsError, MTAIOError)
    assert issubclass(NatsTimeoutError, NatsError) and issubclass(NatsTimeoutError, asyncio.TimeoutError)
    assert issubclass(NatsHandlerError, NatsError)
    assert issubclass(NatsClosedError, NatsError) and issubclass(NatsClosedError, ChannelClosedError)


# --- Requests

async def test_asking_and_answering(server):
    async with Side(server.url) as a, Side(server.url) as b:
        async def price(request):
            assert request == nats.Request('price.tea', {'grams': 100})
            await asyncio.sleep(0)
            return {'price': 5}

        await b.binding.serve('price.*', price)
        assert await a.binding.request('price.tea', {'grams': 100}) == {'price': 5}
        assert await a.binding.request('price.tea', {'grams': 100}, timeout=60) == {'price': 5}
        await a.receives_nothing(0.02)
        await b.receives_nothing(0.02)   # nothing of it touches the channel
        assert b.binding.stats.taken == 0


async def test_serving_by_decorator(server):
    async with Side(server.url) as a, Side(server.url) as b:
        @b.binding.serve('double')
        def double(request):
            return request.data * 2

        await b.binding.flush()
        assert double(nats.Request('x', 2)) == 4   # it is the function as it was
        assert await asyncio.gather(*(a.binding.request('double', i) for i in range(50))) == list(range(0, 100, 2))


async def test_one_of_a_group_answers(server):
    asked = []
    async with Side(server.url) as a, Side(server.url) as b, Side(server.url) as c:
        await b.binding.serve('x', lambda request: asked.append('b'), group='g')
        await c.binding.serve('x', lambda request: asked.append('c'), group='g')
        await asyncio.gather(*(a.binding.request('x') for _ in range(40)))
        await asyncio.sleep(0.05)
        assert len(asked) == 40


async def test_slow_handlers_do_not_hold_up_others(server):
    async with Side(server.url) as a, Side(server.url) as b:
        release = asyncio.Event()

        async def wait(request):
            if request.data == 'slow':
                await release.wait()
            return request.data

        await b.binding.serve('wait', wait)
        slow = asyncio.ensure_future(a.binding.request('wait', 'slow'))
        assert await a.binding.request('wait', 'quick') == 'quick'
        assert not slow.done()
        release.set()
        assert await slow == 'slow'


async def test_time_limits_of_requests(server):
    async with Side(server.url) as a, Side(server.url) as b:
        await b.binding.serve('never', lambda request: asyncio.sleep(3600))
        for timeout in 0.05, 0:
            with pytest.raises(NatsTimeoutError):
                await a.binding.request('never', timeout=timeout)
        for timeout in -1, math.nan:
            await refused(ValueError, a.binding.request('never', timeout=timeout))


async def test_nobody_answers(server):
    from mtaio.exceptions import NatsNoRespondersError
    async with Side(server.url, 'lonely', take='x') as a:
        await refused(NatsNoRespondersError, a.binding.request('nobody'))


async def test_a_request_that_is_cancelled_is_over(server):
    async with Side(server.url) as a, Side(server.url) as b:
        await b.binding.serve('never', lambda request: asyncio.sleep(3600))
        for wait in 0, 0.02:
            task = asyncio.ensure_future(a.binding.request('never'))
            await asyncio.sleep(wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not a.connection._answers


async def test_a_handler_that_fails_answers_so_and_is_told(server):
    async with Side(server.url) as a, Side(server.url) as b:
        errors = []
        b.events.on('error', lambda event: errors.append(event.data))

        def fail(request):
            raise KeyError('no tea')

        await b.binding.serve('fail', fail)
        await b.binding.serve('odd', lambda request: {1, 2})   # no JSON
        await b.binding.serve('large', lambda request: 'x' * (2 << 20))   # more than the server takes
        assert await refused(NatsHandlerError, a.binding.request('fail', timeout=3600)) == "'no tea'"
        assert 'JSON' in await refused(NatsHandlerError, a.binding.request('odd', timeout=3600))
        assert 'limit' in await refused(NatsHandlerError, a.binding.request('large', timeout=3600))
        while len(errors) < 3:
            await asyncio.sleep(0.001)
        assert [type(error) for error in errors] == [NatsError] * 3
        assert isinstance(errors[0].__cause__, KeyError) and "'fail'" in str(errors[0])


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError('secret')


@pytest.mark.parametrize('error, words, text', [
    (ValueError, ['no tea'], 'no tea'), (ValueError, [], 'a handler failed'), (Unspeakable, [], 'a handler failed'),
    (asyncio.CancelledError, [], 'a handler failed'), (ValueError, ['a\r\nb\0c\x1b!'], 'a  b c !'),
    (ValueError, ['\ud800'], '?'), (ValueError, ['ä' * 300], 'ä' * 127)], ids=range(7))
async def test_the_message_of_an_exception_is_sent_and_nothing_else(server, error, words, text):
    async with Side(server.url) as a, Side(server.url) as b:
        b.events.on('error', lambda event: None)

        async def fail(request):
            raise error(*words) from KeyError('secret')

        await b.binding.serve('fail', fail)
        assert await refused(NatsHandlerError, a.binding.request('fail', timeout=3600)) == text


async def test_errors_of_others(server):
    """A peer of any kind: what it says is read with care."""
    reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\nSUB shop.foreign 1\r\nPING\r\n')
    while await reader.readline() != b'PONG\r\n':
        pass

    async def answer(headers, data):
        while not (line := await reader.readline()).startswith(b'MSG shop.foreign 1 '):
            assert line
        writer.write(b'HPUB %s %d %d\r\n%s%s\r\n' % (line.split()[3], len(headers), len(headers + data), headers, data))

    async with Side(server.url, take='x') as a:
        for said, text in [(b'no tea', 'no tea'), ('Grüße'.encode(), 'Grüße'), (b'\xff\x01', '\ufffd '),
                           (b'x' * 5000, 'x' * 255)]:
            asking = asyncio.ensure_future(a.binding.request('foreign', timeout=60))
            await answer(b'NATS/1.0\r\nNats-Service-Error: %s\r\nNats-Service-Error-Code: 400\r\n\r\n' % said, b'{}')
            assert await refused(NatsHandlerError, asking) == text
        asking = asyncio.ensure_future(a.binding.request('foreign', timeout=60))
        await answer(b'NATS/1.0\r\nKey: value\r\n\r\n', b'[1]')
        assert await asking == [1]
    writer.close()


async def test_a_failure_that_nobody_handles_is_the_loops(server):
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(context['exception']))
    async with await nats.connect(server.url) as connection:
        binding = await connection.bind(Channel(), 'alone', send='*')
        await binding.serve('fail', lambda request: 1 / 0)
        await refused(NatsHandlerError, binding.request('fail'))
    assert len(told) == 1 and isinstance(told[0].__cause__, ZeroDivisionError)


async def test_requests_and_answers_that_cannot_be_read(server):
    async with Side(server.url, codec='bytes', take='y') as a, Side(server.url, take='y') as b:
        asked = []
        await b.binding.serve('x', asked.append)
        assert 'decoded' in await refused(NatsHandlerError, a.binding.request('x', b'{', timeout=3600))
        assert (await b.is_told('nats.refused')).count == 1
        assert asked == [] and b.binding.stats.refused == 1
        await a.binding.serve('bad', lambda request: b'{')
        assert 'decoded' in await refused(NatsError, b.binding.request('bad'))
        await refused(TypeError, b.binding.request('bad', {1}))


async def test_arguments_of_requests_and_serving(server):
    async with Side(server.url) as a:
        for topic in '', 'a b', '*', '$mtaio-x':
            await refused(NatsError, a.binding.request(topic))
        await refused(TypeError, a.binding.request(5))
        await refused(ValueError, a.binding.request('a\x00'))
        with pytest.raises(NatsError):
            a.binding.serve('lo*')
        with pytest.raises(TypeError):
            a.binding.serve('x', 5)
        with pytest.raises(TypeError):
            a.binding.serve(5)
        await refused(NatsError, a.binding.request('x', 'x' * (2 << 20)))


async def test_serving_by_decorator_tells_of_its_failure(server):
    async with Side(server.url) as a:
        errors = []
        a.events.on('error', lambda event: errors.append(event.data))
        a.binding.serve('x' * 5000)(print)   # too long for a subject
        await a.binding.flush(60)
        assert [type(error) for error in errors] == [NatsError]


# --- The end

async def test_closing_sends_what_waits(server):
    async with Side(server.url) as b:
        async with Side(server.url) as a:
            for i in range(3000):
                a.channel.publish_nowait(i, topic='x')
        assert [(await b.receive()).data for _ in range(3000)] == list(range(3000))
        assert a.connection.is_closed and not a.connection.is_connected
        assert a.told[-1][0] == 'nats.closed'


async def test_closing_a_binding_leaves_the_channel_and_the_connection(server):
    async with Side(server.url) as a, Side(server.url) as b:
        async with await a.connection.bind(a.channel, 'shop2', send='*', codec='json') as second:
            await a.channel.publish(1, topic='x')
        assert second.stats.sent == 1
        await second.close()
        await refused(NatsClosedError, second.flush())
        await refused(NatsClosedError, second.request('x'))
        with pytest.raises(NatsClosedError):
            second.serve('x')
        await a.channel.publish(2, topic='x')
        await b.receives(1, 'x')
        await b.receives(2, 'x')
        assert second.stats.sent == 1 and second.stats.dropped == 0


async def test_after_closing(server):
    async with Side(server.url) as a:
        pass
    await a.connection.close()
    await a.binding.close()
    await refused(NatsClosedError, a.connection.bind(a.channel, 'shop', send='*'))
    await refused(NatsClosedError, a.binding.flush())
    assert await a.channel.publish(1, topic='x') == 1   # the channel goes on
    assert 'closed' in repr(a.connection) and 'shop' in repr(a.binding)
    assert a.binding.stats.sent == 0


async def test_closing_ends_requests(server):
    async with Side(server.url) as a, Side(server.url) as b:
        await b.binding.serve('never', lambda request: asyncio.sleep(3600))
        asking = asyncio.ensure_future(a.binding.request('never'))
        await asyncio.sleep(0.05)
        await a.connection.close()
        await refused(NatsClosedError, asking)


async def test_what_came_before_closing_is_received(server):
    async with Side(server.url) as a:
        async with Side(server.url) as b:
            for i in range(1000):
                await a.channel.publish(i, topic='x')
            await a.binding.flush()
            await asyncio.sleep(0.05)
        taken = b.binding.stats.taken
        assert b.subscriber.stats.reached == taken
        assert [(await b.receive()).data for _ in range(taken)] == list(range(taken))


async def test_closing_with_a_channel_that_has_no_room_loses_and_counts(server):
    channel = Channel(buffer_size=10)
    async with Side(server.url) as a:
        b = Side(server.url, channel=channel)
        async with b:
            for i in range(100):
                await a.channel.publish(i, topic='x')
            await a.binding.flush()
            while b.subscriber.stats.waiting < 10:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            await b.connection.close(0.1)
        assert [(await b.receive()).data for _ in range(10)] == list(range(10))
        stats = b.binding.stats
        assert stats.taken == 10 and stats.taken + stats.lost <= 100 and stats.lost > 0


async def test_a_slow_subscriber_holds_up_and_loses_nothing(server):
    channel = Channel(buffer_size=3)
    async with Side(server.url) as a, Side(server.url, channel=channel) as b:
        for i in range(500):
            await a.channel.publish(i, topic='x')
        await a.binding.flush()
        got = []
        while len(got) < 500:
            await asyncio.sleep(0)
            got.append((await b.receive()).data)
        assert got == list(range(500))
        assert b.binding.stats.taken == 500 and b.binding.stats.lost == 0


async def test_a_closed_channel_loses_what_comes_and_counts(server):
    async with Side(server.url) as a, Side(server.url) as b:
        b.channel.close()
        await a.channel.publish(1, topic='x')
        assert (await b.is_told('nats.lost')).count == 1
        assert b.binding.stats.lost == 1 and b.binding.stats.taken == 0
        a.channel.close()
        await a.binding.flush(60)


async def test_a_subscriber_that_refuses_loses_and_counts(server):
    channel = Channel(buffer_size=2, overflow='error')
    async with Side(server.url) as a, Side(server.url, channel=channel) as b:
        for i in range(5):
            await a.channel.publish(i, topic='x')
        await a.binding.flush()
        while b.binding.stats.taken + b.binding.stats.lost < 5:
            await asyncio.sleep(0.005)
        assert b.binding.stats.taken == 2 and b.binding.stats.lost == 3


async def test_a_connection_belongs_to_its_loop(server):
    async with Side(server.url) as a:
        def elsewhere():
            with pytest.raises(RuntimeError):
                asyncio.run(a.connection.bind(a.channel, 'x', send='*'))
            with pytest.raises(RuntimeError):
                asyncio.run(a.connection.close())
            with pytest.raises(RuntimeError):
                asyncio.run(a.binding.flush())

        await asyncio.to_thread(elsewhere)


async def test_a_closed_emitter_is_told_nothing(server):
    async with Side(server.url) as a:
        a.events.close()
        await a.channel.publish({1}, topic='x')
        await a.binding.flush(60)
    assert a.binding.stats.refused == 1


def test_json_is_what_others_read():
    codec = codec_of('json')
    assert codec.encode({'a': 'ä', 'b': [1, None]}) == '{"a":"ä","b":[1,null]}'.encode()
    assert json.loads(codec.encode([1.5, True])) == [1.5, True]
