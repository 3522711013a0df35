"""A channel that is bound to NATS servers, and what connections need besides. See mtaio.nats."""
import asyncio
import functools
import json
import math
import os
import threading
import weakref

from mtaio import _emitting
from mtaio._handlers import in_loop
from mtaio._values import Stats, nanoseconds
from mtaio.exceptions import EventError, NatsClosedError, NatsError, NatsTimeoutError

try:
    from mtaio import _nats
except ImportError as _error:
    raise ImportError('mtaio.nats needs libnats (Debian: libnats3.4), and a package that was built where it is found '
                      f'(libnats-dev): {_error}') from _error

_AT_ONCE = 256   # messages taken before the loop may do something else
OVERFLOW = {'block': 1, 'drop_oldest': 2, 'drop_newest': 3, 'error': 4}   # the library's numbers


# --- Arguments ---

class _Json:
    """Data as JSON: strictly, so that everybody can read it."""

    @staticmethod
    def encode(data):
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode()

    @staticmethod
    def decode(data):
        return json.loads(data.decode(), parse_constant=_no_constant)


def _no_constant(name):
    raise ValueError(f'{name} is no JSON')


def codec_of(codec):
    if isinstance(codec, str):
        if codec not in ('bytes', 'str', 'json'):
            raise ValueError(f"codec must be 'bytes', 'str', 'json' or an object with encode and decode, not {codec!r}")
        return _Json() if codec == 'json' else codec
    if not callable(getattr(codec, 'encode', None)) or not callable(getattr(codec, 'decode', None)):
        raise TypeError(f'a codec must have encode and decode, {type(codec).__name__} has not')
    return codec


def patterns_of(patterns):
    if patterns is None:
        return ()
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def path_of(path):
    return None if path is None else os.fspath(path)


class Deadline:
    """A time limit that several steps share; None: none."""

    def __init__(self, seconds):
        self._loop = asyncio.get_running_loop()
        self._limit_ns = nanoseconds(seconds, 'timeout', -1)
        self._end = math.inf if self._limit_ns < 0 else self._loop.time() + self._limit_ns * 1e-9

    @property
    def left_ns(self):
        if self._limit_ns < 0:
            return -1
        return max(0, math.ceil((self._end - self._loop.time()) * 1e9))

    @property
    def is_over(self):
        return self._loop.time() >= self._end


# --- Threads and loops ---

def settle(future, result, error):
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def settle_all(outcome):
    """The outcome, the list of what settle() takes, is empty then: whoever else has the list keeps nothing of it."""
    future, result, error = outcome
    outcome.clear()
    settle(future, result, error)


async def on_thread(function, *args):
    """What the function returns, which may wait: on a thread that nothing waits for, not even the program's end.

    Who is told finds that the thread has let go all that it was given and all that it made, though it may go on."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    outcome = [future]

    def run():
        nonlocal function, args
        try:
            outcome.extend((function(*args), None))
        except BaseException as error:   # it is raised in the task
            outcome.extend((None, error))
        function = args = None
        in_loop(loop, settle_all, outcome)

    threading.Thread(target=run, name='mtaio.nats', daemon=True).start()
    return await future


class Reader:
    """What a loop calls when there is something to read, without keeping its object."""

    def __init__(self, method):
        self._method = weakref.WeakMethod(method)

    def __call__(self):
        method = self._method()
        if method is not None:
            method()


def unwatch(loop, fds, *owners):
    """In the loop, which then lets the owners of the descriptors go."""
    if not loop.is_closed():
        for fd in fds:
            loop.remove_reader(fd)


# --- Bindings ---

class Binding:
    """What Connection.bind() returns: a channel, and the topics that it shares."""

    def __init__(self, connection, inner, number, channel, prefix, emitter):
        self.connection = connection
        self.channel = channel
        self.prefix = prefix
        self._inner = inner
        self._number = number
        self._loop = connection._loop
        self._emitter = emitter   # of a durable binding; None: what comes is published on the channel
        self._serving = set()   # what decorators have begun
        self._closing = None
        self._fd = inner.fileno()   # -1: nothing is taken, or nothing any more
        self._watch()

    @property
    def stats(self):
        """What was counted."""
        return Stats(*self._inner.stats())

    async def flush(self, timeout=None):
        """Wait until the server has got everything that was published on the channel before, and knows what is served.

        Raises:
            NatsTimeoutError: The time is over, so many seconds
            NatsClosedError: The binding is closed
        """
        self._check()
        deadline = Deadline(timeout)
        if self._serving:
            await asyncio.wait(list(self._serving))
        if not await self._drain(deadline):
            raise NatsTimeoutError('not everything was sent when the time was over')
        await on_thread(self._inner.flush, deadline.left_ns)

    async def request(self, topic, data=None, *, timeout=None):
        """Ask who serves a topic, and wait for the answer. Nothing of it touches the channel.

        Args:
            topic: A name
            data: What is asked, encoded by the binding's codec, as the answer is
            timeout: Seconds; None: those of the connection

        Raises:
            NatsHandlerError: The handler has failed, and this is what it says
            NatsTimeoutError: There was no answer
            NatsNoRespondersError: Nobody serves the topic, or takes it
            NatsError: There is no connection at the moment, the answer cannot be decoded, ...
        """
        self._check()
        number, answers = next(self.connection._numbers), self.connection._answers
        future = answers[number] = self._loop.create_future()
        try:
            limit_ns = -1 if timeout is None else max(1, nanoseconds(timeout, 'timeout', -1))
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

    def serve(self, pattern, handler=None, *,
              group=None):
        """Answer requests, until the binding ends: by what the handler returns, or what awaiting that gives.

            await binding.serve("price.*", price)   # when this returns, the server knows

            @binding.serve("price.*")               # ... or when binding.flush() does
            async def price(request):
                return prices[request.topic]

        Requests are handled in tasks of their own, however many there are. Where a handler raises, who asks is told the
        message of the exception, and nothing else of it; the failure becomes an "error" event of the connection's
        emitter, or where nothing handles that, goes to the loop's exception handler.

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

    async def close(self, timeout=5.0):
        """Send what is waiting, then end the binding; the channel stays. Closing again does nothing.

        Raises:
            NatsTimeoutError: Something was left after so many seconds, and dropped
        """
        if self._closing is None and self.connection.is_closed:
            return
        self.connection._check_loop()
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(Deadline(timeout)))
        await asyncio.shield(self._closing)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        await self.close()

    def __repr__(self):
        return f'<{type(self).__name__} {self.prefix!r} of {self.channel!r}>'

    # --- Inside ---

    def _check(self):
        self.connection._check()
        if self._closing is not None:
            raise NatsClosedError('the binding is closed')

    def _watch(self):
        if self._fd >= 0:
            self._loop.add_reader(self._fd, Reader(self._take))

    def _take(self):
        if self._fd < 0:
            return
        try:
            count = self._inner.take(_AT_ONCE)
        except BaseException:   # an interruption: the message is kept, which nothing tells of
            self._loop.call_soon(self._take)
            raise
        if count < 0:   # the channel has no room: we shall be told
            self._loop.remove_reader(self._fd)

    def _go_on(self, is_incoming):
        try:
            self._inner.go_on(is_incoming)
        except MemoryError:
            self._loop.call_later(0.01, self._go_on, is_incoming)
            return
        if is_incoming:
            self._watch()

    def _deliver(self, delivery):
        _emitting.start(self._emit(delivery), self.connection._tasks)

    async def _emit(self, delivery):
        """One that is cancelled meanwhile has failed."""
        try:
            topic, data, metadata = delivery.read(self._inner)
        except Exception as error:   # whatever a codec raises: it would do so again
            self._inner.refuse(f'{type(error).__name__}: {error}')
            delivery.end(True)
            return
        try:
            await self._emitter.emit(topic, data, metadata)
        except EventError as error:
            delivery.end(False)
            await _emitting.report(self._emitter, error)
        else:
            delivery.end(True)

    async def _serve(self, pattern, group, handler):
        number = next(self.connection._numbers)
        self.connection._services[number] = self, handler
        try:
            await on_thread(self._inner.serve, number, pattern, group)
        except NatsError:
            self.connection._services.pop(number, None)
            raise

    def _serve_soon(self, pattern, group, handler):
        _emitting.start(self._serve_or_report(pattern, group, handler), self._serving)
        return handler

    async def _serve_or_report(self, pattern, group, handler):
        try:
            await self._serve(pattern, group, handler)
        except NatsError as error:
            await self.connection._report(error)

    async def _drain(self, deadline):
        """Until all that was published before is on its way; the library does not tell, so we look."""
        wanted, moved, _ = self._inner.progress()
        while moved < wanted and not deadline.is_over:
            await asyncio.sleep(0.002)
            moved = self._inner.progress()[1]
        return moved >= wanted

    async def _stop_sending(self, deadline):
        good = await self._drain(deadline)
        self._inner.stop_sending()
        return good

    async def _finish(self, deadline):
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

    async def _close(self, deadline):
        good = await self._stop_sending(deadline)
        try:
            good = await on_thread(self._inner.close, deadline.left_ns) and good
        finally:
            await self._finish(deadline)
            self.connection._bindings.pop(self._number, None)
        if not good:
            raise NatsTimeoutError('not everything was sent when the time to close was over')
