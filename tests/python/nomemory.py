"""Runs one scenario again and again, each time with another allocation of Python failing: that one, or ten in a row (of
more the interpreter itself does not recover).
Usage: nomemory.py SCENARIO. Exit status 0: each run either succeeded or raised MemoryError (or what a handler that ran
out of memory makes of it), the scenario works afterwards, and nothing was leaked."""
import asyncio
import ast
import contextvars
import gc
import inspect
import sys
import traceback
import warnings
from enum import Enum

import _testcapi

from mtaio.events import Channel, Event, EventEmitter, EventPriority, Subscriber
from mtaio.exceptions import EventError, MTAIOError

from snippet import SNIPPETS

ROUNDS_AT_MOST = 3000
PREPARED = {}


def prepare(name):
    code = compile(SNIPPETS[name], f'{name}.py', 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def run(**names):
        namespace = {'__name__': name, 'print': lambda *args: None, **names}
        pending = eval(code, namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            await pending
        return namespace
    return run


# --- Scenarios

async def basic_usage(run):
    await run()


async def filtering(run):
    defined = await run()
    await defined['emitter'].emit('alert', {'priority': 'high', 'message': 'fire'})


async def transformation(run):
    emitter = EventEmitter()
    await run(emitter=emitter)
    await emitter.emit('data_event', {'x': 1})


async def batch(run):
    defined = await run(data1=1, data2=2)
    defined['emitter'].on('event1')(lambda event: [e.data for e in event.events])
    defined['emitter'].on('*')(lambda event: [e.metadata for e in event.events])
    await defined['batch_operations']()


async def channel(run):
    await (await run())['channel_example']()


async def topics(run):
    await (await run())['topic_example']()


async def event_errors(run):
    emitter = EventEmitter()
    emitter.on('event')(lambda event: 1 / 0)
    await (await run(emitter=emitter, data=1))['handle_errors']()


async def handler_class(run):
    emitter = EventEmitter()
    await run(emitter=emitter, EventEmitter=EventEmitter)
    await emitter.emit('user.created', 1)


async def resource_management(run):
    manager = (await run(EventEmitter=EventEmitter, Callable=object))['EventManager']()
    manager.register_handler('a', print)
    manager.register_handler('b', len)
    await manager.cleanup()


async def event_monitoring(run):
    emitter = EventEmitter()
    (await run(EventEmitter=EventEmitter, EventPriority=EventPriority, Event=Event))['EventMonitor'](emitter)
    await emitter.emit('a', 1)


async def error_events(run):
    async def process_data():
        raise ValueError('x')
    await run(emitter=EventEmitter(), process_data=process_data)


async def sleepy(event):
    await asyncio.sleep(0)


async def sleepy_failing(event):
    await asyncio.sleep(0)
    raise ValueError


def plain_failing(event):
    raise KeyError


def always(event):
    return True


def doubled(event):
    return Event(event.name, event.data * 2)


class Owner:
    def method(self, event):
        pass


OWNERS = [Owner() for _ in range(40)]


async def listeners(run):
    emitter, owner = EventEmitter(), Owner()
    emitter.add_listener('a', owner.method, weak=True)
    with emitter.add_listener('a', owner.method):
        emitter.listeners('a'), emitter.event_names(), emitter.listener_count('a')
    emitter.off('a', owner.method)


async def hooks(run):
    emitter = EventEmitter()
    emitter.add_hook('before_emit', always)
    emitter.add_listener('a', always)
    with emitter.suppress_events('b') as held:
        await emitter.emit('a', 1)
        await emitter.emit('b', 1)
    await emitter.replay_events(held)
    emitter.close()


# What follows makes no functions while memory fails, as mtaio's weak handlers and suppressions do: some versions of the
# interpreter do not survive that.

async def suspending(run):
    emitter = EventEmitter()
    for name in 'a', 'a.*':
        emitter.on(name)(sleepy)
    emitter.once('*')(sleepy)
    emitter.filter(always).map(doubled).on('a')(sleepy)
    await emitter.emit('a', 1, {'m': 1})
    await emitter.emit('a.b', 1)
    emitter.off('a', sleepy)
    emitter.remove_all_listeners()


async def many_removed(run):
    emitter = EventEmitter()
    for owner in OWNERS:
        emitter.on('a', owner.method)
    for owner in OWNERS[::4]:
        assert emitter.off('a', owner.method) == 1


async def failing(run):
    emitter = EventEmitter()
    emitter.add_listener('a', sleepy_failing)
    emitter.add_listener('a', plain_failing)
    try:
        await emitter.emit('a', 1)
    except EventError as error:
        str(error), error.errors, error.event


async def batches(run):
    emitter = EventEmitter()
    emitter.add_listener('*', sleepy)
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
        await emitter.emit('b', 2)


async def topic_channel(run):
    channel = Channel('c')
    one = await channel.subscribe(['a.*', 'b'], buffer_size=2, overflow='drop_oldest')
    two = await channel.subscribe()
    for i in range(4):
        await channel.publish(i, topic='a.b', metadata={'m': 1})
    one.receive_nowait(), two.receive_nowait()


async def events(run):
    event = Event('a', [1], metadata={'m': 1})
    repr(event), event == Event('a', [1]), event.events, Event[int]


async def interpreter(run):
    """Nothing of ours: whether this interpreter survives."""
    def function():
        return [run]

    async def coroutine():
        return function()
    await coroutine()


SCENARIOS = {name: function for name, function in list(globals().items())
             if inspect.isfunction(function) and function.__code__.co_varnames[:1] == ('run',)}


# --- The sweep

def drive(scenario, run):
    """Without an event loop: what suspends is resumed at once."""
    pending = scenario(run)
    try:
        while True:
            pending.send(None)
    except StopIteration:
        pass


def is_about_memory(error):
    """MemoryError, or what came of one."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, MemoryError) or any(is_about_memory(e) for _, e in getattr(error, 'errors', ()) or ()):
            return True
        error = error.__cause__ or error.__context__
    return False


def attempt(scenario, run, start, stop):
    """True: it succeeded."""
    problem = None
    _testcapi.set_nomemory(start, stop)
    try:
        drive(scenario, run)
    except BaseException as error:
        problem = error
    finally:
        _testcapi.remove_mem_hooks()
    if problem is None:
        return True
    traceback.clear_frames(problem.__traceback__)   # some versions lose a traceback at times, and all that it keeps
    # The interpreter itself may lose the reason; it never makes another one of it.
    if not is_about_memory(problem) and isinstance(problem, (SystemError, MTAIOError, TypeError, AttributeError)):
        raise problem
    return False


def sweep(scenario, run, failing):
    succeeded = 0
    for start in range(1, ROUNDS_AT_MOST):
        if attempt(scenario, run, start, start + failing):
            succeeded += 1
        else:
            succeeded = 0
        if succeeded > 30:
            return start
    raise SystemExit('no end')


async def forgotten():
    pass


def main():
    name = sys.argv[1]
    scenario, run = SCENARIOS[name], prepare(name) if name in SNIPPETS else None
    warnings.simplefilter('ignore')
    contextvars.ContextVar('first').set(None)   # failing at that crashes some versions
    forgotten()                                 # and so does the first warning of a coroutine that nobody awaits
    sys.unraisablehook = lambda args: None
    for _ in range(3):
        drive(scenario, run)
    blocks = []
    for _ in range(3):
        # PyContextVar_Set of some versions crashes where two allocations fail in it, and so a batch could not begin.
        positions = [sweep(scenario, run, failing) for failing in ([1] if scenario in (batch, batches) else [1, 10])]
        drive(scenario, run)
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    grown = blocks[-1] - blocks[-2]
    print(f'{name}: positions {positions}, blocks {blocks}')
    if grown > 10 * sum(positions):   # the interpreter itself loses some
        raise SystemExit(f'leaked {grown} blocks in one sweep')


if __name__ == '__main__':
    main()
