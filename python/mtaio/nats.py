"""Channels across processes and machines, over NATS servers.

    from mtaio import nats
    from mtaio.events import Channel

    async with await nats.connect("nats://127.0.0.1:4222") as connection:
        channel = Channel("orders")
        await connection.bind(channel, "shop", send=["order.**"], take=["order.**"], codec="json")
        await channel.publish({"id": 42}, topic="order.paid")   # to all who have bound a channel as "shop"

A connection belongs to the event loop in which it was made; channels that are bound may be used in any thread. What is
promised, and what not, is in docs/nats.md.
"""
import asyncio
import atexit
import inspect
import itertools
import warnings
import weakref

from mtaio import _emitting
from mtaio._binding import (OVERFLOW, Binding, Deadline, Reader, _nats, codec_of, on_thread, path_of, patterns_of, settle,
                            unwatch)
from mtaio._channels import TopicChannel
from mtaio._handlers import in_loop
from mtaio._values import Codec, Request, State, Stats, Stream, nanoseconds
from mtaio.events import EventEmitter
from mtaio.exceptions import (EventEmitError, EventHandlerError, NatsClosedError, NatsError, NatsTimeoutError,
                              _described)

__all__ = ['Binding', 'Codec', 'Connection', 'Request', 'State', 'Stats', 'Stream', 'connect']

_connections = weakref.WeakSet()   # those that are open


@atexit.register
def _close_all():
    """So that no thread of theirs is at work any more when the program ends."""
    for connection in list(_connections):
        connection._is_closed = True
        connection._inner.close(0)


# --- Connections ---

async def connect(servers='nats://127.0.0.1:4222', *, events=None, name=None, user=None, password=None, token=None,
                  credentials=None, tls_ca=None, tls_certificate=None, tls_key=None, timeout=5.0, retry=0.25,
                  resume=None, send_asap=False):
    """Connect to NATS servers, and from then on again whenever that has to be.

    Args:
        servers: URLs, one or several
        events: Is told what happens, in this loop: "nats.connected", "nats.disconnected", "nats.reconnected",
            "nats.lagging", "nats.lost", "nats.refused", "nats.error", "nats.closed", each with a State
        name: For the server's logs
        user, password, token: To log in
        credentials: A file to log in with, as servers' tools write it
        tls_ca, tls_certificate, tls_key: Files. Any of them: TLS, which a URL tls://... is, too
        timeout: Seconds for connecting, and for each answer
        retry: Seconds between two attempts to connect again
        resume: Seconds after that until publishing goes on, when the peers are back, too; None: 4 x retry
        send_asap: Send each message at once: a shorter way for requests, fewer messages per second

    Raises:
        NatsTimeoutError: It took too long
        NatsError: There is no server, it refuses the login, ...
    """
    if events is not None and not isinstance(events, EventEmitter):
        raise TypeError(f'events must be an EventEmitter, not {type(events).__name__}')
    inner = await on_thread(
        _nats.Connection, ','.join(patterns_of(servers)), name, user, password, token,
        *map(path_of, (credentials, tls_ca, tls_certificate, tls_key)), nanoseconds(timeout, 'timeout', 0),
        nanoseconds(retry, 'retry', 0), nanoseconds(resume, 'resume', 0), bool(send_asap))
    return Connection(inner, events)


def _fail(request, error):
    """Tell who asks, where that is possible: what the error says, and nothing else of it."""
    try:
        text = str(error)
    except Exception:   # whatever is raised there
        text = ''
    try:
        request.fail(text.encode('utf-8', 'replace').replace(b'\0', b' '))
    except (NatsError, MemoryError):   # who asks finds the time over
        pass


class Connection:
    """What connect() returns. It is closed by close(), or at the end of an `async with` block."""

    def __init__(self, inner, events):
        self._inner = inner
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._bindings = {}
        self._beginning = {}   # bindings that are being made: what came for them
        self._services = {}
        self._answers = {}
        self._tasks = set()   # handlers of requests at work
        self._is_closed = False
        self._closing = None
        self._loop.add_reader(inner.fileno(), Reader(self._read))
        _connections.add(self)

    @property
    def is_connected(self):
        """Whether there is a connection at the moment."""
        return self._inner.is_connected()

    @property
    def is_closed(self):
        """Whether it is closed, or just being closed."""
        return self._is_closed or self._closing is not None

    async def bind(self, channel, prefix, *, send=None, take=None, codec='bytes', buffer_size=65536, overflow='block',
                   pack=False, durable=None):
        """Share topics of a channel with all who have bound one under the same prefix.

        Args:
            channel: The channel, which goes on to serve this process as before
            prefix: A name. Topic "order.paid" is the subject "shop.order.paid" where the prefix is "shop"
            send: Patterns of topics that go out; "*" is all
            take: Patterns of topics that come in
            codec: What the data are: "bytes", "str", "json", or an object with encode and decode. Metadata are headers,
                both keys and values strs. What cannot be encoded or decoded is refused: counted, and told by the event
                "nats.refused"
            buffer_size: How many messages may wait to be sent, 0: any number
            overflow: What publishing on the channel does when they are that many: "block", "drop_oldest", "drop_newest"
                or "error"
            pack: Send messages of one topic that wait together as one: several times as many per second, but only those
                who have bound a channel can read them, in C or Python
            durable: A Stream, which keeps what is sent; None: what nobody takes at the moment is gone

        Returns:
            A Binding. It lasts until it is closed, or the connection is
        """
        self._check()
        if isinstance(channel, TopicChannel):
            channel = channel._channel
        outgoing, incoming, chosen = patterns_of(send), patterns_of(take), codec_of(codec)
        if not outgoing and not incoming:
            raise ValueError('nothing to send and nothing to take')
        if overflow not in OVERFLOW:
            raise ValueError(f"overflow must be 'block', 'drop_oldest', 'drop_newest' or 'error', not {overflow!r}")
        if buffer_size < 0:
            raise ValueError('buffer_size must not be negative')
        if durable is not None and not isinstance(durable, Stream):
            raise TypeError(f'durable must be a Stream, not {type(durable).__name__}')
        emitter = durable and durable.emitter
        if emitter is not None and not isinstance(emitter, EventEmitter):
            raise TypeError(f'emitter must be an EventEmitter, not {type(emitter).__name__}')
        number = next(self._numbers)
        self._beginning[number] = []
        try:
            inner = await on_thread(_nats.Binding, self._inner, channel, number, prefix, outgoing, incoming, chosen,
                                     buffer_size or -1, OVERFLOW[overflow], bool(pack),
                                     durable and durable._as_tuple())
        finally:
            mails = self._beginning.pop(number)
        if self.is_closed:
            raise NatsClosedError('the connection is closed')
        binding = self._bindings[number] = Binding(self, inner, number, channel, prefix, emitter)
        for what, mail in mails:
            what(binding, mail)
        return binding

    async def close(self, timeout=5.0):
        """Send what is waiting, then close the connection and all bindings. Closing again does nothing.

        Args:
            timeout: Seconds at most, None: as long as it takes

        Raises:
            NatsTimeoutError: Something was left, and dropped
        """
        if self._is_closed and self._closing is None:
            return
        self._check_loop()
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(Deadline(timeout)))
        await asyncio.shield(self._closing)

    async def _close(self, deadline):
        bindings = list(self._bindings.values())
        good = all(await asyncio.gather(*(binding._stop_sending(deadline) for binding in bindings)))
        try:
            good = await on_thread(self._inner.close, deadline.left_ns) and good
        finally:
            for binding in bindings:
                await binding._finish(deadline)
            self._end()
        if not good:
            raise NatsTimeoutError('not everything was sent when the time to close was over')

    def _end(self):
        self._is_closed = True
        _connections.discard(self)
        self._read()
        unwatch(self._loop, [self._inner.fileno()])
        self._services.clear()
        for task in list(self._tasks):
            task.cancel()
        for future in self._answers.values():
            settle(future, b'', NatsClosedError('the connection is closed'))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        await self.close()

    def __del__(self, warn=warnings.warn):
        inner = getattr(self, '_inner', None)
        if inner is None or self._is_closed:
            return
        warn(f'unclosed {self!r}', ResourceWarning, source=self)
        fds = [inner.fileno(), *(binding._fd for binding in self._bindings.values() if binding._fd >= 0)]
        in_loop(self._loop, unwatch, self._loop, fds, inner, *self._bindings.values())

    def __repr__(self):
        state = 'closed' if self.is_closed else 'connected' if self.is_connected else 'disconnected'
        return f'<{type(self).__name__}: {state}, {len(self._bindings)} bindings>'

    # --- Inside ---

    def _check(self):
        self._check_loop()
        if self.is_closed:
            raise NatsClosedError('the connection is closed')

    def _check_loop(self):
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError('a connection belongs to the event loop in which it was made')

    def _read(self):
        try:
            mails = self._inner.read()
        except MemoryError:
            mails = []
        for kind, *mail in mails:
            try:
                getattr(self, f'_on_{kind}')(*mail)
            except Exception as error:   # the next one is not to be lost with it
                self._loop.call_exception_handler(
                    {'message': f'{self!r} failed to handle a {kind}', 'exception': error})
        if self._inner.has_unread():
            self._loop.call_later(0.01, self._read)

    def _on_state(self, name, *fields):
        if self._events is not None and not self._events.is_closed:
            self._events.emit_nowait(name, State(*fields))

    def _on_signal(self, number, is_incoming):
        self._pass_on(number, Binding._go_on, is_incoming)

    def _on_delivery(self, number, delivery):
        self._pass_on(number, Binding._deliver, delivery)

    def _pass_on(self, number, what, mail):
        if number in self._beginning:
            self._beginning[number].append((what, mail))
        elif number in self._bindings:
            what(self._bindings[number], mail)

    def _on_answer(self, number, answer):
        future = self._answers.get(number)
        if future is None:
            return
        if isinstance(answer, bytes):
            settle(future, answer, None)
        else:
            settle(future, b'', answer)

    def _on_request(self, number, request):
        if number in self._services:
            _emitting.start(self._answer(*self._services[number], request), self._tasks)

    async def _answer(self, binding, handler, request):
        try:
            topic, data = request.read(binding._inner)
        except Exception as error:   # whatever a codec raises
            binding._inner.refuse(f'{type(error).__name__}: {error}')
            _fail(request, 'the request cannot be decoded')
            return
        try:
            answer = handler(Request(topic, data))
            if inspect.isawaitable(answer):
                answer = await answer
            request.answer(binding._inner, answer)
        except BaseException as error:
            _fail(request, error)
            if not isinstance(error, Exception):
                raise
            failure = NatsError(f'a request of {topic!r} failed: {_described(error)}')
            failure.__cause__ = error
            await self._report(failure)

    async def _report(self, failure):
        if self._events is None or self._events.is_closed:
            _emitting.last_resort(failure)
            return
        try:
            await self._events.emit('error', failure)
        except EventEmitError:   # nothing handles it
            _emitting.last_resort(failure)
        except EventHandlerError as again:
            _emitting.last_resort(again)


