"""Emissions that nobody awaits, that come later or again and again; batches and suppressions."""
import asyncio
import inspect
import logging
import math

from mtaio import _core
from mtaio.exceptions import EventEmitError, EventError, EventHandlerError

logger = logging.getLogger('mtaio')
_tasks = set()   # a loop alone does not keep its tasks


def start(coroutine, *owners):
    """A task, which is in these sets until it is done."""
    task = asyncio.get_running_loop().create_task(coroutine)
    for tasks in (_tasks, *owners):
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return task


def cancel(task):
    """From any thread."""
    loop = task.get_loop()
    if asyncio._get_running_loop() is loop:
        if task is not asyncio.current_task():
            task.cancel()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


class Done:
    """What may be awaited, but need not."""
    __slots__ = ()

    def __await__(self):
        return iter(())


# --- Nobody awaits ---

def last_resort(error, **context):
    """What nobody handles: the running loop's exception handler is told, or, without one, the log."""
    message = f'an emission that nobody awaits failed: {error}'
    loop = asyncio._get_running_loop()
    if loop is not None:
        loop.call_exception_handler({'message': message, 'exception': error, **context})
    else:
        logger.error(message, exc_info=error)


def _failures(error):
    return [(error.event, *pair) for pair in error.errors] if isinstance(error, EventHandlerError) \
        else [(None, None, error)]


async def report(emitter, error):
    """Emits an "error" event for each failure; those that nothing handles are for the last resort."""
    for event, handler, failure in _failures(error):
        if event is None or event.name == 'error' or emitter.is_closed:
            last_resort(failure, event=event, handler=handler)
            continue
        try:
            await emitter.emit('error', failure)
        except EventEmitError:
            last_resort(failure, event=event, handler=handler)
        except EventHandlerError as again:
            last_resort(again, event=event, handler=handler)


async def unawaited(emitter, emission):
    try:
        await emission
    except EventError as error:
        await report(emitter, error)


def run_now(coroutine):
    """Runs a coroutine without a loop. What would have to wait, fails there."""
    try:
        coroutine.send(None)
        for _ in range(100):
            coroutine.throw(RuntimeError('a handler has to wait, and no event loop runs in this thread'))
    except StopIteration:
        return
    coroutine.close()


# --- Later, and again ---

async def emit_later(emitter, delay, event_name, data, metadata):
    await asyncio.sleep(delay)
    await emitter.emit(event_name, data, metadata)


def seconds(value):
    """A number of seconds; ValueError, TypeError."""
    if math.isnan(value):
        raise ValueError('not a number of seconds: NaN')
    return value


async def _provided(provider):
    value = provider() if callable(provider) else provider
    return await value if inspect.isawaitable(value) else value


async def emit_repeatedly(emitter, interval, event_name, data_provider, metadata_provider, max_count):
    count = 0
    while (max_count is None or count < max_count) and not emitter.is_closed:
        if count:
            await asyncio.sleep(interval)
        count += 1
        try:
            data, metadata = await _provided(data_provider), await _provided(metadata_provider)
            await emitter.emit(event_name, data, metadata)
        except EventError as error:
            if not emitter.is_closed:
                await report(emitter, error)
        except Exception as error:   # the provider's
            last_resort(error)


# --- Batches ---

class BatchOperations:
    """What batch_operations returns."""
    __slots__ = ('_emitter', '_batch')

    def __init__(self, emitter):
        self._emitter = emitter
        self._batch = None

    async def __aenter__(self):
        if self._batch is not None:
            raise RuntimeError('this batch is open already')
        self._batch = _core.open_batch(self._emitter)   # None: inside of another, which gets the events

    async def __aexit__(self, kind, exception, traceback):
        batch, self._batch = self._batch, None
        if batch is None:
            return
        if kind is not None and issubclass(kind, GeneratorExit):   # the task is gone: nobody could wait
            batch.end().close()
            return
        try:
            await batch.end()
        except EventError as error:
            if exception is None:
                raise
            await report(self._emitter, error)   # the exception goes on


# --- Suppressions ---

def _ignore(event):
    pass


class Suppression:
    """What suppress_events returns: events are held back from then on, until the end of a with block, or a replay."""
    __slots__ = ('_emitter', '_gate', 'held')

    def __init__(self, emitter, pattern):
        self._emitter = emitter
        self._gate = _core.Emitter()   # its one handler tells whether a name matches
        self._gate._listen(pattern, _ignore, 3, 0, False)
        self.held = []
        self._set([*emitter._suppressions, self])

    def take(self, event):
        matches = self._gate._reach(event.name) > 0
        if matches:
            self.held.append(event)
        return matches

    def end(self):
        """Hold nothing back any more."""
        self._set([s for s in self._emitter._suppressions if s is not self])

    def __enter__(self):
        return self.held

    def __exit__(self, *exception):
        self.end()

    async def __aenter__(self):
        return self.held

    async def __aexit__(self, *exception):
        self.end()

    def _set(self, suppressions):
        """The oldest first: it takes what it matches."""
        self._emitter._set_hold((lambda event: any(s.take(event) for s in suppressions)) if suppressions else None)
        self._emitter._suppressions = suppressions
