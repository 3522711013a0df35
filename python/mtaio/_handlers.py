"""Handlers that are more than a function: held weakly, bound to a loop, or collecting events.

`__wrapped__` is what the user gave; `removed` is called where somebody else has removed the handler."""
import asyncio
import inspect
import weakref
from collections import deque

# The flags of Emitter._listen.
ONCE = 1
WRAPPED = 4
TOLD = 8


class Weak:
    """Calls what it holds weakly, and is removed when that goes."""
    __slots__ = ('_handler', 'listener', '__weakref__')

    def __init__(self, handler):
        self.listener = None
        own = weakref.ref(self)

        def gone(_):
            weak = own()
            if weak is not None and weak.listener is not None:
                weak.listener.cancel()
                weak.listener = None

        bound = hasattr(handler, '__self__') and hasattr(handler, '__func__')
        self._handler = (weakref.WeakMethod if bound else weakref.ref)(handler, gone)

    @property
    def __wrapped__(self):
        return self._handler()

    def __call__(self, event):
        handler = self._handler()
        return None if handler is None else handler(event)


class OnLoop:
    """Runs a handler on a loop, whichever loop or thread the emission is in; that waits for it."""
    __slots__ = ('_handler', '_loop')

    def __init__(self, handler, loop):
        self._handler = handler
        self._loop = loop

    @property
    def __wrapped__(self):
        return self._handler.__wrapped__ if isinstance(self._handler, Weak) else self._handler

    def __call__(self, event):
        here = asyncio._get_running_loop()
        if here is self._loop:
            return self._handler(event)
        run = self._run(event)
        try:
            future = asyncio.run_coroutine_threadsafe(run, self._loop)
        except RuntimeError:   # the loop is closed
            run.close()
            raise
        if here is not None:
            return asyncio.wrap_future(future, loop=here)
        future.add_done_callback(self._report)   # nobody here can wait
        return None

    async def _run(self, event):
        result = self._handler(event)
        return await result if inspect.isawaitable(result) else result

    def _report(self, future):
        if not future.cancelled() and future.exception() is not None:
            self._loop.call_soon_threadsafe(self._loop.call_exception_handler, {
                'message': 'a handler failed of an event that nobody awaits', 'exception': future.exception(),
                'handler': self.__wrapped__})


def in_loop(loop, function, *args):
    """Calls the function in the loop: now, if that is the one that runs here. A closed loop has nobody to tell."""
    if asyncio._get_running_loop() is loop:
        function(*args)
        return
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        pass


class Feed:
    """Puts events into a stream, which it does not keep alive."""
    __slots__ = ('_stream',)

    def __init__(self, stream):
        self._stream = weakref.ref(stream)

    def __call__(self, event):
        stream = self._stream()
        if stream is not None:
            stream._put(event)

    def removed(self):
        stream = self._stream()
        if stream is not None:
            stream._end()


class EventStream:
    """The events of a pattern, as an asynchronous iterator. It collects them from the moment it is made, until it is
    closed, dropped, or the emitter is closed; then what it has collected can still be taken."""

    def __init__(self, emitter, pattern, priority):
        self._events = deque()
        self._waiting = deque()   # (loop, future) of those in __anext__
        self._ended = False
        self._emitter = emitter
        self._listener = emitter._listen(pattern, Feed(self), priority, TOLD, True)

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            loop = asyncio.get_running_loop()
            waiting = (loop, loop.create_future())
            self._waiting.append(waiting)
            try:
                await waiting[1]
            except asyncio.CancelledError:
                if self._events:   # the wake-up was for an event that somebody else may take
                    self._wake()
                raise
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
        return self._events.popleft()

    def close(self):
        """Stop collecting. What was collected can still be taken."""
        self._listener.cancel()
        self._end()

    async def aclose(self):
        """Stop collecting."""
        self.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        self.close()

    def __del__(self):
        listener = getattr(self, '_listener', None)
        if listener is not None:
            listener.cancel()

    def _put(self, event):
        self._events.append(event)
        self._wake()

    def _end(self):
        self._ended = True
        while self._waiting:
            self._wake()

    def _wake(self):
        if self._waiting:
            loop, future = self._waiting.popleft()
            in_loop(loop, _done, future)


def _done(future):
    if not future.done():
        future.set_result(None)
