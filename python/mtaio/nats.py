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
import functools
import inspect
import itertools
import json
import math
import os
import threading
import warnings
import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import (Any, Callable, Coroutine, Dict, Iterable, List, Optional, Protocol, Set, SupportsFloat, Tuple, Type,
                    TypeVar, Union, overload)

from mtaio import _emitting
from mtaio._channels import Channel, TopicChannel
from mtaio._handlers import in_loop
from mtaio.events import EventEmitter
from mtaio.exceptions import EventEmitError, EventHandlerError, NatsClosedError, NatsError, NatsTimeoutError

try:
    from mtaio import _nats
except ImportError as _error:
    raise ImportError('mtaio.nats needs libnats (Debian: libnats3.4), and a package that was built where it is found '
                      f'(libnats-dev): {_error}') from _error

__all__ = ['Binding', 'Codec', 'Connection', 'Request', 'State', 'Stats', 'connect']

T = TypeVar('T')
H = TypeVar('H', bound=Callable[['Request'], Any])
Patterns = Union[str, Iterable[str]]
Path = Union[str, 'os.PathLike[str]']

_AT_ONCE = 256   # messages taken before the loop may do something else
_OVERFLOW = {'block': 1, 'drop_oldest': 2, 'drop_newest': 3, 'error': 4}   # the library's numbers


class Codec(Protocol):
    """How data become bytes, and bytes data. What cannot be encoded or decoded raises any exception."""

    def encode(self, data: Any, /) -> bytes:
        ...

    def decode(self, data: bytes, /) -> Any:
        ...


@dataclass(frozen=True)
class State:
    """The data of the events that tell how a connection fares.

    Attributes:
        server: The server's URL, "" while there is none
        prefix: Of the binding that it is about, or ""
        text: What the client library said, or why something was refused
        count: How many messages were lost, dropped or refused by this event
        missed: How many events before this one were not told, because they came faster than the loop looked
    """
    server: str = ''
    prefix: str = ''
    text: str = ''
    count: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Stats:
    """What a binding has counted.

    Attributes:
        sent: Given to the server
        unsent: Waiting to be sent
        dropped: By the policy of the buffer, or with the end of the binding
        taken: Published on the channel
        lost: Known to be missing
        refused: Neither sent nor taken, because they are no valid messages, or could not be encoded or decoded
    """
    sent: int
    unsent: int
    dropped: int
    taken: int
    lost: int
    refused: int


@dataclass(frozen=True)
class Request:
    """What somebody asks: the handler of the topic returns the answer."""
    topic: str
    data: Any


# --- Arguments ---

class _Json:
    """Data as JSON: strictly, so that everybody can read it."""

    @staticmethod
    def encode(data: Any) -> bytes:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode()

    @staticmethod
    def decode(data: bytes) -> Any:
        return json.loads(data.decode(), parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f'{name} is no JSON')


def _codec_of(codec: Union[str, Codec]) -> Union[str, Codec]:
    if isinstance(codec, str):
        if codec not in ('bytes', 'str', 'json'):
            raise ValueError(f"codec must be 'bytes', 'str', 'json' or an object with encode and decode, not {codec!r}")
        return _Json() if codec == 'json' else codec
    if not callable(getattr(codec, 'encode', None)) or not callable(getattr(codec, 'decode', None)):
        raise TypeError(f'a codec must have encode and decode, {type(codec).__name__} has not')
    return codec


def _patterns_of(patterns: Optional[Patterns]) -> Tuple[str, ...]:
    if patterns is None:
        return ()
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _ns(seconds: Optional[SupportsFloat], name: str, none: int) -> int:
    """Nanoseconds, as many as the library counts at most; `none` for None."""
    if seconds is None:
        return none
    number = float(seconds)
    if math.isnan(number) or number < 0:
        raise ValueError(f'{name} must not be negative or NaN')
    return min(math.ceil(number * 1e9), 2**62) if number < 2**33 else 2**62


def _path(path: Optional[Path]) -> Optional[str]:
    return None if path is None else os.fspath(path)


class _Deadline:
    """A time limit that several steps share; None: none."""

    def __init__(self, seconds: Optional[SupportsFloat]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_ns = _ns(seconds, 'timeout', -1)
        self._end = math.inf if self._limit_ns < 0 else self._loop.time() + self._limit_ns * 1e-9

    @property
    def left_ns(self) -> int:
        if self._limit_ns < 0:
            return -1
        return max(0, math.ceil((self._end - self._loop.time()) * 1e9))

    @property
    def is_over(self) -> bool:
        return self._loop.time() >= self._end


# --- Threads and loops ---

def _settle(future: 'asyncio.Future[T]', result: T, error: Optional[BaseException]) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


async def _on_thread(function: Callable[..., T], *args: Any) -> T:
    """What the function returns, which may wait: on a thread that nothing waits for, not even the end of the program."""
    loop = asyncio.get_running_loop()
    future: 'asyncio.Future[T]' = loop.create_future()

    def run() -> None:
        result, failure = None, None
        try:
            result = function(*args)
        except BaseException as error:   # it is raised in the task
            failure = error
        try:
            in_loop(loop, _settle, future, result, failure)
        finally:
            del result, failure   # here, and not at some time in a frame that the exception keeps

    threading.Thread(target=run, name='mtaio.nats', daemon=True).start()
    return await future


class _Reader:
    """What a loop calls when there is something to read, without keeping its object."""

    def __init__(self, method: Callable[[], None]) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self) -> None:
        method = self._method()
        if method is not None:
            method()


def _unwatch(loop: asyncio.AbstractEventLoop, fds: List[int], *owners: object) -> None:
    """In the loop, which then lets the owners of the descriptors go."""
    if not loop.is_closed():
        for fd in fds:
            loop.remove_reader(fd)


_connections: 'weakref.WeakSet[Connection]' = weakref.WeakSet()   # those that are open


@atexit.register
def _close_all() -> None:
    """So that no thread of theirs is at work any more when the program ends."""
    for connection in list(_connections):
        connection._is_closed = True
        connection._inner.close(0)


# --- Connections ---

async def connect(servers: Patterns = 'nats://127.0.0.1:4222', *, events: Optional[EventEmitter] = None,
                  name: Optional[str] = None, user: Optional[str] = None, password: Optional[str] = None,
                  token: Optional[str] = None, credentials: Optional[Path] = None, tls_ca: Optional[Path] = None,
                  tls_certificate: Optional[Path] = None, tls_key: Optional[Path] = None, timeout: SupportsFloat = 5.0,
                  retry: SupportsFloat = 0.25, resume: Optional[SupportsFloat] = None,
                  send_asap: bool = False) -> 'Connection':
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
    inner = await _on_thread(
        _nats.Connection, ','.join(_patterns_of(servers)), name, user, password, token, _path(credentials),
        _path(tls_ca), _path(tls_certificate), _path(tls_key), _ns(timeout, 'timeout', 0), _ns(retry, 'retry', 0),
        _ns(resume, 'resume', 0), bool(send_asap))
    return Connection(inner, events)


class Connection:
    """What connect() returns. It is closed by close(), or at the end of an `async with` block."""

    def __init__(self, inner: _nats.Connection, events: Optional[EventEmitter]) -> None:
        self._inner = inner
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._bindings: Dict[int, Binding] = {}
        self._beginning: Dict[int, List[bool]] = {}   # bindings that are being made: their signals
        self._services: Dict[int, Tuple[Binding, Callable[[Request], Any]]] = {}
        self._answers: Dict[int, 'asyncio.Future[bytes]'] = {}
        self._tasks: Set['asyncio.Task[Any]'] = set()   # handlers of requests at work
        self._is_closed = False
        self._closing: Optional['asyncio.Task[None]'] = None
        self._loop.add_reader(inner.fileno(), _Reader(self._read))
        _connections.add(self)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at the moment."""
        return self._inner.is_connected()

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, or just being closed."""
        return self._is_closed or self._closing is not None

    async def bind(self, channel: Union[Channel[Any], TopicChannel[Any]], prefix: str, *,
                   send: Optional[Patterns] = None, take: Optional[Patterns] = None,
                   codec: Union[str, Codec] = 'bytes', buffer_size: int = 65536, overflow: str = 'block') -> 'Binding':
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

        Returns:
            A Binding. It lasts until it is closed, or the connection is
        """
        self._check()
        if isinstance(channel, TopicChannel):
            channel = channel._channel
        outgoing, incoming, chosen = _patterns_of(send), _patterns_of(take), _codec_of(codec)
        if not outgoing and not incoming:
            raise ValueError('nothing to send and nothing to take')
        if overflow not in _OVERFLOW:
            raise ValueError(f"overflow must be 'block', 'drop_oldest', 'drop_newest' or 'error', not {overflow!r}")
        if buffer_size < 0:
            raise ValueError('buffer_size must not be negative')
        number = next(self._numbers)
        self._beginning[number] = []
        try:
            inner = await _on_thread(_nats.Binding, self._inner, channel, number, prefix, outgoing, incoming, chosen,
                                     buffer_size or -1, _OVERFLOW[overflow])
        finally:
            signals = self._beginning.pop(number)
        if self.is_closed:
            raise NatsClosedError('the connection is closed')
        binding = self._bindings[number] = Binding(self, inner, number, channel, prefix)
        for is_incoming in signals:
            binding._go_on(is_incoming)
        return binding

    async def close(self, timeout: Optional[SupportsFloat] = 5.0) -> None:
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
            self._closing = self._loop.create_task(self._close(_Deadline(timeout)))
        await asyncio.shield(self._closing)

    async def _close(self, deadline: _Deadline) -> None:
        bindings = list(self._bindings.values())
        good = all(await asyncio.gather(*(binding._stop_sending(deadline) for binding in bindings)))
        try:
            good = await _on_thread(self._inner.close, deadline.left_ns) and good
        finally:
            for binding in bindings:
                await binding._finish(deadline)
            self._end()
        if not good:
            raise NatsTimeoutError('not everything was sent when the time to close was over')

    def _end(self) -> None:
        self._is_closed = True
        _connections.discard(self)
        self._read()
        _unwatch(self._loop, [self._inner.fileno()])
        self._services.clear()
        for task in list(self._tasks):
            task.cancel()
        for future in self._answers.values():
            _settle(future, b'', NatsClosedError('the connection is closed'))

    async def __aenter__(self) -> 'Connection':
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        await self.close()

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        inner: Optional[_nats.Connection] = getattr(self, '_inner', None)
        if inner is None or self._is_closed:
            return
        warn(f'unclosed {self!r}', ResourceWarning, source=self)
        fds = [inner.fileno(), *(binding._fd for binding in self._bindings.values() if binding._fd >= 0)]
        in_loop(self._loop, _unwatch, self._loop, fds, inner, *self._bindings.values())

    def __repr__(self) -> str:
        state = 'closed' if self.is_closed else 'connected' if self.is_connected else 'disconnected'
        return f'<{type(self).__name__}: {state}, {len(self._bindings)} bindings>'

    # --- Inside ---

    def _check(self) -> None:
        self._check_loop()
        if self.is_closed:
            raise NatsClosedError('the connection is closed')

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError('a connection belongs to the event loop in which it was made')

    def _read(self) -> None:
        try:
            mails = self._inner.read()
        except MemoryError:
            mails = []
        for kind, *mail in mails:
            try:
                getattr(self, f'_on_{kind}')(*mail)
            except Exception as error:   # the next one is not to be lost with it
                self._loop.call_exception_handler({'message': f'{self!r} failed to handle a {kind}', 'exception': error})
        if self._inner.has_unread():
            self._loop.call_later(0.01, self._read)

    def _on_state(self, name: str, *fields: Any) -> None:
        if self._events is not None and not self._events.is_closed:
            self._events.emit_nowait(name, State(*fields))

    def _on_signal(self, number: int, is_incoming: bool) -> None:
        if number in self._beginning:
            self._beginning[number].append(is_incoming)
        elif number in self._bindings:
            self._bindings[number]._go_on(is_incoming)

    def _on_answer(self, number: int, answer: Union[bytes, BaseException]) -> None:
        future = self._answers.get(number)
        if future is None:
            return
        if isinstance(answer, bytes):
            _settle(future, answer, None)
        else:
            _settle(future, b'', answer)

    def _on_request(self, number: int, request: _nats.Request) -> None:
        if number in self._services:
            _emitting.start(self._answer(*self._services[number], request), self._tasks)

    async def _answer(self, binding: 'Binding', handler: Callable[[Request], Any], request: _nats.Request) -> None:
        try:
            topic, data = request.read(binding._inner)
        except Exception as error:   # whatever a codec raises
            binding._inner.refuse(f'{type(error).__name__}: {error}')
            return
        try:
            answer = handler(Request(topic, data))
            if inspect.isawaitable(answer):
                answer = await answer
            request.answer(binding._inner, answer)
        except Exception as error:
            failure = NatsError(f'a request of {topic!r} was not answered: {type(error).__name__}: {error}')
            failure.__cause__ = error
            await self._report(failure)

    async def _report(self, failure: NatsError) -> None:
        if self._events is None or self._events.is_closed:
            _emitting.last_resort(failure)
            return
        try:
            await self._events.emit('error', failure)
        except EventEmitError:   # nothing handles it
            _emitting.last_resort(failure)
        except EventHandlerError as again:
            _emitting.last_resort(again)


# --- Bindings ---

class Binding:
    """What Connection.bind() returns: a channel, and the topics that it shares."""

    def __init__(self, connection: Connection, inner: _nats.Binding, number: int, channel: Channel[Any],
                 prefix: str) -> None:
        self.connection = connection
        self.channel = channel
        self.prefix = prefix
        self._inner = inner
        self._number = number
        self._loop = connection._loop
        self._serving: Set['asyncio.Task[Any]'] = set()   # what decorators have begun
        self._closing: Optional['asyncio.Task[None]'] = None
        self._fd = inner.fileno()   # -1: nothing is taken, or nothing any more
        self._watch()

    @property
    def stats(self) -> Stats:
        """What was counted."""
        return Stats(*self._inner.stats())

    async def flush(self, timeout: Optional[SupportsFloat] = None) -> None:
        """Wait until the server has got everything that was published on the channel before, and knows what is served.

        Raises:
            NatsTimeoutError: The time is over, so many seconds
            NatsClosedError: The binding is closed
        """
        self._check()
        deadline = _Deadline(timeout)
        if self._serving:
            await asyncio.wait(list(self._serving))
        if not await self._drain(deadline):
            raise NatsTimeoutError('not everything was sent when the time was over')
        await _on_thread(self._inner.flush, deadline.left_ns)

    async def request(self, topic: str, data: Any = None, *, timeout: Optional[SupportsFloat] = None) -> Any:
        """Ask who serves a topic, and wait for the answer. Nothing of it touches the channel.

        Args:
            topic: A name
            data: What is asked, encoded by the binding's codec, as the answer is
            timeout: Seconds; None: those of the connection

        Raises:
            NatsTimeoutError: There was no answer
            NatsNoRespondersError: Nobody serves the topic, or takes it
            NatsError: There is no connection at the moment, the answer cannot be decoded, ...
        """
        self._check()
        number, answers = next(self.connection._numbers), self.connection._answers
        future = answers[number] = self._loop.create_future()
        try:
            limit_ns = -1 if timeout is None else max(1, _ns(timeout, 'timeout', -1))
            ticket = self._inner.ask(number, topic, data, limit_ns)
            try:
                answer = await future
            except asyncio.CancelledError:
                self._inner.cancel(ticket)
                raise
        finally:
            del answers[number]
        try:
            return self._inner.decode(answer)
        except Exception as error:   # whatever a codec raises
            raise NatsError(f'the answer cannot be decoded: {type(error).__name__}: {error}') from error

    @overload
    def serve(self, pattern: str, *, group: Optional[str] = None) -> Callable[[H], H]:
        ...

    @overload
    def serve(self, pattern: str, handler: Callable[[Request], Any], *,
              group: Optional[str] = None) -> Coroutine[Any, Any, None]:
        ...

    def serve(self, pattern: str, handler: Optional[Callable[[Request], Any]] = None, *,
              group: Optional[str] = None) -> Any:
        """Answer requests, until the binding ends: by what the handler returns, or what awaiting that gives.

            await binding.serve("price.*", price)   # when this returns, the server knows

            @binding.serve("price.*")               # ... or when binding.flush() does
            async def price(request):
                return prices[request.topic]

        Requests are handled in tasks of their own, however many there are. A handler that raises does not answer, so who
        asks finds the time over; the failure becomes an "error" event of the connection's emitter, or where nothing handles
        that, goes to the loop's exception handler.

        Args:
            pattern: Of topics
            handler: A function of a Request, plain or async
            group: Of all who serve a pattern in a group of this name, one gets each request
        """
        self._check()
        _nats.check_pattern(pattern)
        if handler is None:
            return functools.partial(self._serve_soon, pattern, group)
        if not callable(handler):
            raise TypeError(f'a handler must be callable, not {type(handler).__name__}')
        return self._serve(pattern, group, handler)

    async def close(self, timeout: Optional[SupportsFloat] = 5.0) -> None:
        """Send what is waiting, then end the binding; the channel stays. Closing again does nothing.

        Raises:
            NatsTimeoutError: Something was left after so many seconds, and dropped
        """
        if self._closing is None and self.connection.is_closed:
            return
        self.connection._check_loop()
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(_Deadline(timeout)))
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> 'Binding':
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.prefix!r} of {self.channel!r}>'

    # --- Inside ---

    def _check(self) -> None:
        self.connection._check()
        if self._closing is not None:
            raise NatsClosedError('the binding is closed')

    def _watch(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, _Reader(self._take))

    def _take(self) -> None:
        if self._fd < 0:
            return
        try:
            count = self._inner.take(_AT_ONCE)
        except BaseException:   # an interruption: the message is kept, which nothing tells of
            self._loop.call_soon(self._take)
            raise
        if count < 0:   # the channel has no room: we shall be told
            self._loop.remove_reader(self._fd)

    def _go_on(self, is_incoming: bool) -> None:
        try:
            self._inner.go_on(is_incoming)
        except MemoryError:
            self._loop.call_later(0.01, self._go_on, is_incoming)
            return
        if is_incoming:
            self._watch()

    async def _serve(self, pattern: str, group: Optional[str], handler: Callable[[Request], Any]) -> None:
        number = next(self.connection._numbers)
        self.connection._services[number] = self, handler
        try:
            await _on_thread(self._inner.serve, number, pattern, group)
        except NatsError:
            self.connection._services.pop(number, None)
            raise

    def _serve_soon(self, pattern: str, group: Optional[str], handler: H) -> H:
        _emitting.start(self._serve_or_report(pattern, group, handler), self._serving)
        return handler

    async def _serve_or_report(self, pattern: str, group: Optional[str], handler: Callable[[Request], Any]) -> None:
        try:
            await self._serve(pattern, group, handler)
        except NatsError as error:
            await self.connection._report(error)

    async def _drain(self, deadline: _Deadline) -> bool:
        """Until all that was published before is on its way; the library does not tell, so we look."""
        wanted, moved, _ = self._inner.progress()
        while moved < wanted and not deadline.is_over:
            await asyncio.sleep(0.002)
            moved = self._inner.progress()[1]
        return moved >= wanted

    async def _stop_sending(self, deadline: _Deadline) -> bool:
        good = await self._drain(deadline)
        self._inner.stop_sending()
        return good

    async def _finish(self, deadline: _Deadline) -> None:
        """When nothing is sent and nothing comes any more: publishes what has come."""
        while self._inner.progress()[2]:   # it was dropped, and we shall be told
            await asyncio.sleep(0.002)
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._fd = -1
        while count := self._inner.take(_AT_ONCE):
            if deadline.is_over:
                break
            await asyncio.sleep(0 if count > 0 else 0.002)
        self._inner.stop_taking()

    async def _close(self, deadline: _Deadline) -> None:
        good = await self._stop_sending(deadline)
        try:
            good = await _on_thread(self._inner.close, deadline.left_ns) and good
        finally:
            await self._finish(deadline)
            self.connection._bindings.pop(self._number, None)
        if not good:
            raise NatsTimeoutError('not everything was sent when the time to close was over')
