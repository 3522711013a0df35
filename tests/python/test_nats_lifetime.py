"""What a connection to NATS servers leaves behind, which is nothing: at the end of the interpreter, of a loop, of its last
reference; and that there is one mtaio in the process."""
import asyncio
import ctypes
import gc
import os
import re
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from pathlib import Path

import pytest

from mtaio.events import Channel, EventEmitter

nats = pytest.importorskip('mtaio.nats', reason='this package was built without libnats')
import mtaio._core   # noqa: E402
import mtaio._nats   # noqa: E402
from mtaio import _binding   # noqa: E402
from nats_server import Server   # noqa: E402

PRELUDE = """
import asyncio, gc, os, sys, threading, time
from mtaio import nats
from mtaio.events import Channel, EventEmitter
url = sys.argv[1]
"""


@pytest.fixture(scope='module')
def server():
    with Server() as s:
        yield s


def interpret(code, url='', status=0, prelude=PRELUDE, **env):
    p = subprocess.run([sys.executable, '-c', prelude + textwrap.dedent(code), url], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=60, env={**os.environ, **env})
    assert p.returncode == status, p.stderr + p.stdout
    return p.stderr


# --- Exit: hazard 51

BOUND = """
events, channel = EventEmitter(), Channel()
told = []
events.on('*', lambda event: told.append(event))
async def open_all():
    global connection, binding, subscriber
    connection = await nats.connect(url, events=events)
    binding = await connection.bind(channel, 'shop', send='*', take='*', codec='json')
    subscriber = await channel.subscribe()
    await binding.serve('x', lambda request: request.data)
"""

EXITS = {
    'a connection in module globals, its loop closed': 'asyncio.run(open_all())',
    'a connection in module globals, its loop left': """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(open_all())
        """,
    'messages that wait': """
        async def main():
            await open_all()
            for i in range(1000):
                channel.publish_nowait(i, topic='x')
        asyncio.run(main())
        """,
    'messages that come, and nobody looks': """
        async def main():
            await open_all()
            other = await nats.connect(url)
            second = Channel()
            b = await other.bind(second, 'shop', send='*', codec='json')
            for i in range(20000):
                await second.publish(i, topic='x')
            await b.flush()
        asyncio.run(main())
        """,
    'a request under way': """
        async def main():
            await open_all()
            await binding.serve('never', lambda request: asyncio.sleep(3600))
            task = asyncio.ensure_future(binding.request('never'))
            await asyncio.sleep(0.05)
            task.cancel()
            binding._inner.ask(12345, 'never', 1, -1)
        asyncio.run(main())
        """,
    'a connection that is being made': """
        import socket
        silent = socket.socket()
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        async def main():
            asyncio.ensure_future(nats.connect('nats://127.0.0.1:%d' % silent.getsockname()[1]))
            await asyncio.sleep(0.05)
        asyncio.run(main())
        """,
    'a daemon thread that publishes': """
        async def main():
            await open_all()
            def publish():
                while True:
                    channel.publish_blocking(1, topic='x')
            threading.Thread(target=publish, daemon=True).start()
            await asyncio.sleep(0.1)
        asyncio.run(main())
        """,
    'a cycle through a handler': """
        async def main():
            await open_all()
            class Owner: pass
            owner = Owner()
            owner.connection = connection
            owner.handler = lambda request: owner
            await binding.serve('cycle', owner.handler)
        asyncio.run(main())
        """,
    'SystemExit in a handler of events': """
        async def main():
            await open_all()
            events.on('nats.refused', lambda event: sys.exit(0))
            await channel.publish({1}, topic='x')
            await asyncio.sleep(10)
        asyncio.run(main())
        """,
}


@pytest.mark.parametrize('name', EXITS)
def test_exit(name, server):
    # A thread that nothing waits for keeps what it has.
    leaks = ':detect_leaks=0' if name in ('a connection that is being made', 'a daemon thread that publishes') else ''
    interpret(BOUND + textwrap.dedent(EXITS[name]), server.url, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + leaks)


def test_exit_without_a_server():
    with Server() as s:
        interpret(BOUND + textwrap.dedent(f"""
            import os, signal
            async def main():
                await open_all()
                os.kill({s.process.pid}, signal.SIGKILL)
                while connection.is_connected:
                    await asyncio.sleep(0.01)
                for i in range(100):
                    channel.publish_nowait(i, topic='x')
            asyncio.run(main())
            """), s.url)


# --- Loops: hazards 49, 50

def test_a_loop_that_is_closed_is_survived(server, new_loop):
    channel, other = Channel(), Channel()
    loop = new_loop()

    async def begin():
        connection = await nats.connect(server.url)
        return connection, await connection.bind(channel, 'shop', send='*', take='*', codec='json')

    connection, binding = loop.run_until_complete(begin())
    loop.close()

    async def use():
        async with await nats.connect(server.url) as c:
            b = await c.bind(other, 'shop', send='*', take='*', codec='json')
            subscriber = await other.subscribe()
            await channel.publish(1, topic='x')   # it is still sent: that needs no loop
            assert (await subscriber.receive(60)).data == 1
            await other.publish(2, topic='x')
            await b.flush()

    asyncio.run(use())
    reference = weakref.ref(connection)
    with pytest.warns(ResourceWarning, match='unclosed'):
        del connection, binding
        gc.collect()
    assert reference() is None
    channel.publish_nowait(3, topic='x')


def test_two_loops_share_a_channel(server):
    channel = Channel()

    async def own(prefix, data):
        async with await nats.connect(server.url) as connection:
            await connection.bind(channel, prefix, send='*', codec='json')
            await channel.publish(data, topic='x')

    threads = [threading.Thread(target=asyncio.run, args=[own(f'p{i}', i)]) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert channel.subscriber_count == 0


# --- Memory: hazard 53

async def one_round(url, channel):
    events = EventEmitter()
    events.on('nats.*', lambda event: None)
    async with await nats.connect(url, events=events) as connection:
        binding = await connection.bind(channel, 'shop', send='*', take='*', codec='json')
        await binding.serve('x', lambda request: [request.data, connection])
        await binding.serve('y', lambda request: request.data)
        for i in range(50):
            await channel.publish([i], topic='a', metadata={'m': str(i)})
        await channel.publish({1}, topic='refused')
        assert await binding.request('y', [1]) == [1]
        await binding.flush()
    return weakref.ref(connection), weakref.ref(binding)


async def test_what_was_closed_is_collected(server, collected):
    for reference in await one_round(server.url, Channel()):
        await asyncio.sleep(0)
        collected()
        assert reference() is None


async def test_nothing_leaks(server, collected):
    channel = Channel()
    blocks, before = [], len(os.listdir('/proc/self/fd'))
    for _ in range(6):
        for _ in range(2):
            await one_round(server.url, channel)
        await asyncio.sleep(0.01)
        collected()
        blocks.append(sys.getallocatedblocks())
    assert blocks[-1] - blocks[-3] < 200, blocks
    while len(os.listdir('/proc/self/fd')) > before or threading.active_count() > 1:
        await asyncio.sleep(0.01)   # the client library's threads end when they like
    assert channel.subscriber_count == 0


async def test_messages_and_codecs_leave_no_references(server):
    data, metadata, channel = ['data'], {'key': 'value'}, Channel()

    class Codec:
        def encode(self, data):
            return b'x'

        def decode(self, data):
            return answer

    answer, codec = ['answer'], Codec()
    async with await nats.connect(server.url) as a, await nats.connect(server.url) as b:
        other = Channel()
        subscriber = other.subscribe_nowait()
        binding = await a.bind(channel, 'shop', send='*', codec=codec)
        await b.bind(other, 'shop', take='*', codec=codec)

        def counts():
            return [sys.getrefcount(o) for o in (data, metadata, answer, codec)]

        before = counts()
        for _ in range(500):
            await channel.publish(data, topic='x', metadata=metadata)
        await binding.flush()
        for _ in range(500):
            assert (await subscriber.receive(60)).data is answer
        gc.collect()
        assert counts() == before


async def test_a_connection_that_is_dropped_warns_and_is_closed(server, collected):
    channel = Channel()
    connection = await nats.connect(server.url)
    await connection.bind(channel, 'shop', send='*', take='*', codec='json')
    await connection._bindings[1].serve('x', lambda request: connection)   # a cycle
    reference = weakref.ref(connection)
    with pytest.warns(ResourceWarning, match='unclosed'):
        del connection
        collected()
    assert reference() is None
    collected()   # the warning kept it until now
    assert channel.subscriber_count == 0
    await channel.publish(1, topic='x')


@pytest.mark.parametrize('fails', [False, True])
async def test_a_thread_has_let_go_everything_when_it_tells(monkeypatch, fails):
    """However long it goes on after that."""
    in_loop, may_end = _binding.in_loop, threading.Event()

    def tell_and_stay(*args):
        in_loop(*args)
        may_end.wait()

    class Thing:
        def work(self, given):
            if fails:
                raise Failure
            return Thing()

    class Failure(Exception):
        pass

    monkeypatch.setattr(_binding, 'in_loop', tell_and_stay)
    thing, given = Thing(), Thing()
    references = [weakref.ref(thing), weakref.ref(given)]
    try:
        result = await _binding.on_thread(thing.work, given)
    except Failure as error:
        result = error.with_traceback(None)
    references.append(weakref.ref(result))
    assert isinstance(result, Failure if fails else Thing)
    del thing, given, result
    await asyncio.sleep(0)   # what woke this task is the loop's until then
    assert [reference() for reference in references] == [None] * 3
    assert 'mtaio.nats' in [thread.name for thread in threading.enumerate()]
    may_end.set()


async def test_connecting_and_binding_can_be_cancelled(server, collected):
    for _ in range(5):
        task = asyncio.ensure_future(nats.connect(server.url))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    channel = Channel()
    async with await nats.connect(server.url) as connection:
        task = asyncio.ensure_future(connection.bind(channel, 'shop', send='*'))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while channel.subscriber_count > 0 or threading.active_count() > 1:
            await asyncio.sleep(0.005)


async def test_closing_can_be_cancelled_and_goes_on(server):
    connection = await nats.connect(server.url)
    binding = await connection.bind(Channel(), 'shop', send='*')
    for closing in binding, connection:
        task = asyncio.ensure_future(closing.close())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closing.close()
    assert connection.is_closed


# --- Interruptions: hazard 47

class Interrupted:
    """A codec in which a signal handler raises once."""

    def __init__(self):
        self.left = 1

    def encode(self, data):
        if self.left:
            self.left -= 1
            raise KeyboardInterrupt
        return data

    decode = encode


async def test_an_interruption_while_encoding_loses_nothing(server):
    channel = Channel()
    async with await nats.connect(server.url) as connection:
        binding = await connection.bind(channel, 'shop', send='*', codec=Interrupted())
        with pytest.raises(KeyboardInterrupt):
            channel.publish_nowait(b'1', topic='x')
            for _ in range(1000):
                pass
        await binding.flush(60)
        assert binding.stats.sent == 1 and binding.stats.refused == 0


def test_an_interruption_while_decoding_loses_nothing(server, new_loop):
    channel, loop = Channel(), new_loop()
    subscriber = channel.subscribe_nowait()

    async def begin():
        connection = await nats.connect(server.url)
        await connection.bind(channel, 'shop', take='*', codec=Interrupted())
        other, second = await nats.connect(server.url), Channel()
        await other.bind(second, 'shop', send='*')
        await second.publish(b'1', topic='x')
        return connection, other

    connections = loop.run_until_complete(begin())
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(10))
        assert loop.run_until_complete(subscriber.receive(60)).data == b'1'
    finally:
        for connection in connections:
            loop.run_until_complete(connection.close())
        loop.close()


# --- One mtaio: how the two extension modules are linked

def test_the_modules_share_one_library():
    def symbols(module, *options):
        return subprocess.run(['nm', '-D', *options, module.__file__], capture_output=True, text=True,
                              check=True).stdout.splitlines()

    exported = {line.split()[-1] for line in symbols(mtaio._core, '--defined-only') if ' T ' in line}
    wanted = {line.split()[-1] for line in symbols(mtaio._nats, '--undefined-only') if ' mtaio_' in line}
    assert wanted and all(name.endswith('@MTAIO_PYTHON_0') for name in wanted)
    assert {name.split('@')[0] for name in wanted} <= {name.split('@')[0] for name in exported}
    assert all(re.match(r'(mtaio_|PyInit__core)', name) for name in exported)
    assert [line.split()[-1].split('@')[0] for line in symbols(mtaio._nats, '--defined-only')] == ['PyInit__nats']


def loaded_as(module):
    return {line.split()[-1] for line in Path('/proc/self/maps').read_text().splitlines()
            if Path(line.split()[-1]).name == Path(module.__file__).name}


def test_the_core_is_loaded_once():
    assert len(loaded_as(mtaio._core)) == len(loaded_as(mtaio._nats)) == 1


LIBRARY = Path(mtaio.__file__).parents[2] / 'src/libmtaio.so.0'


@pytest.mark.skipif('asan' in os.environ.get('LD_PRELOAD', '') or not LIBRARY.exists(), reason='no libmtaio beside')
@pytest.mark.parametrize('when', ['before', 'after'])
def test_a_libmtaio_that_is_global_does_not_take_its_place(when, server):
    load = f"""
        import ctypes
        library = ctypes.CDLL({str(LIBRARY)!r}, mode=ctypes.RTLD_GLOBAL)
        library.mtaio_version.restype = ctypes.c_char_p
        assert library.mtaio_version()
        library.mtaio_set_allocator.restype = ctypes.c_int
        """
    use = BOUND + textwrap.dedent("""
        async def main():
            await open_all()
            await channel.publish([1], topic='x')
            assert (await subscriber.receive(60)).data == [1]
            assert await binding.request('x', 5) == 5
            await connection.close()
        asyncio.run(main())
        """)
    check = """
        # MTAIO_EBUSY where the library has allocated anything: it was never used.
        assert library.mtaio_set_allocator(None) == 0, library.mtaio_set_allocator(None)
        """
    if when == 'before':
        interpret(textwrap.dedent(load) + PRELUDE + use + textwrap.dedent(check), server.url, prelude='import sys\n')
    else:
        interpret(textwrap.dedent(load) + use + textwrap.dedent(check), server.url)


def test_a_subinterpreter_is_refused():
    interpret("""
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        code = "try:\\n    import mtaio._nats\\nexcept ImportError: pass\\nelse: raise SystemError('imported')"
        other = interpreters.create()
        result = interpreters.run_string(other, code) if hasattr(interpreters, 'run_string') else interpreters.exec(other, code)
        assert result is None, result
        """)


def test_without_the_extension_module_the_import_says_what_is_missing(tmp_path):
    package = Path(mtaio.__file__).parent
    for path in package.iterdir():
        if not path.name.startswith('_nats.') and path.is_file():
            (tmp_path / 'mtaio').mkdir(exist_ok=True)
            (tmp_path / 'mtaio' / path.name).symlink_to(path)
    interpret(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import mtaio.events
        assert mtaio.__file__.startswith({str(tmp_path)!r})
        try:
            import mtaio.nats
        except ImportError as error:
            assert 'libnats' in str(error), error
        else:
            raise SystemExit('imported')
        """, prelude='')


def test_the_core_refuses_what_is_no_channel():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        api = ctypes.pythonapi.PyCapsule_IsValid
        api.argtypes = [ctypes.py_object, ctypes.c_char_p]
        assert api(mtaio._core._C_API, b'mtaio._core._C_API')
    with pytest.raises(TypeError):
        mtaio._nats.Binding(None)
    with pytest.raises(TypeError):
        mtaio._nats.Request()


# --- Out of memory: hazard 58

def test_no_memory(server):
    pytest.importorskip('_testcapi', reason='this Python comes without _testcapi')
    program = Path(__file__).with_name('nats_nomemory.py')
    p = subprocess.run([sys.executable, program, server.url], capture_output=True, text=True, timeout=150,
                       env={**os.environ, 'PYTHONPATH': f'{program.parent}:{os.environ["PYTHONPATH"]}',
                            'PYTHONFAULTHANDLER': '1'})
    assert p.returncode == 0, p.stdout[-2000:] + p.stderr[-3000:]
