"""What can go wrong in an interpreter, each in one of its own: its exit, subinterpreters, forks, signals, warnings."""
import os
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import asyncio, atexit, gc, os, sys, threading, time, types, weakref
from mtaio.events import Channel, Event, EventEmitter, EventPriority
from mtaio.exceptions import *
"""


def interpret(code, *options, status=0, timeout=60, **env):
    """Runs code in an interpreter of its own; what it wrote to its standard error, which is nothing as a rule."""
    p = subprocess.run([sys.executable, *options, '-c', PRELUDE + textwrap.dedent(code)], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=timeout, env={**os.environ, **env})
    assert p.returncode == status, p.stderr + p.stdout
    return p.stderr


# --- Exit: hazard 51

EXITS = {
    'emitters in module globals': """
        emitter = EventEmitter()
        filtered = emitter.filter(lambda event: True)
        @filtered.on('a')
        async def handler(event): await asyncio.sleep(0)
        asyncio.run(emitter.emit('a', 1))
        """,
    'channels in module globals': """
        channel = Channel('c')
        async def main():
            global subscriber
            subscriber = await channel.subscribe()
            await channel.publish([channel])
        asyncio.run(main())
        """,
    'a suspended emission': """
        emitter = EventEmitter()
        @types.coroutine
        def suspend():
            yield 1
        emitter.on('a')(lambda event: suspend())
        pending = emitter.emit('a', 1)
        pending.send(None)
        """,
    'at exit': """
        emitter = EventEmitter()
        emitter.on('a')(lambda event: seen.append(1))
        seen = []
        def last():
            asyncio.run(emitter.emit('a', 1))
            assert seen == [1]
        atexit.register(last)
        """,
    'in a destructor at the end': """
        class Last:
            def __init__(self): self.emitter = EventEmitter(); self.emitter.on('a')(self.method)
            def method(self, event): pass
            def __del__(self):
                try: self.emitter.emit('a', 1).send(None)
                except StopIteration: pass
        last = Last()
        sys.last = last
        """,
    'a daemon thread that emits': """
        emitter = EventEmitter()
        emitter.on('a')(lambda event: None)
        def emit():
            while True:
                try: emitter.emit('a', 1).send(None)
                except StopIteration: pass
        threading.Thread(target=emit, daemon=True).start()
        time.sleep(0.05)
        """,
    'a daemon thread that adds and removes': """
        emitter = EventEmitter()
        def churn():
            while True:
                emitter.on('a')(churn)
                emitter.off('a', churn)
        threading.Thread(target=churn, daemon=True).start()
        time.sleep(0.05)
        """,
    'a daemon thread that waits for a message': """
        channel = Channel('c')
        async def main(): return await channel.subscribe()
        subscriber = asyncio.run(main())
        threading.Thread(target=subscriber.receive_blocking, daemon=True).start()
        time.sleep(0.05)
        """,
    'a daemon thread that publishes': """
        channel = Channel('c')
        async def main(): return await channel.subscribe(buffer_size=10, overflow='drop_oldest')
        subscriber = asyncio.run(main())
        def publish():
            while True: channel.publish_blocking(1)
        threading.Thread(target=publish, daemon=True).start()
        time.sleep(0.05)
        """,
    'a loop that was left': """
        emitter = EventEmitter()
        @emitter.on('a')
        async def handler(event): await asyncio.sleep(100)
        loop = asyncio.new_event_loop()
        task = loop.create_task(emitter.emit('a', 1))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        try: loop.run_until_complete(task)
        except asyncio.CancelledError: pass
        loop.close()
        """,
    'os._exit in a handler': """
        emitter = EventEmitter()
        emitter.on('a')(lambda event: os._exit(0))
        asyncio.run(emitter.emit('a', 1))
        """,
    'sys.exit in a handler': """
        emitter = EventEmitter()
        @emitter.on('a')
        async def handler(event):
            await asyncio.sleep(0)
            sys.exit(0)
        asyncio.run(emitter.emit('a', 1))
        """,
}


@pytest.mark.parametrize('code', EXITS.values(), ids=EXITS.keys())
def test_interpreter_exit(code):
    assert interpret(code) == ''


@pytest.mark.parametrize('code', EXITS.values(), ids=EXITS.keys())
def test_interpreter_exit_with_all_checks(code):
    """-X dev: debug hooks of the allocator, asyncio's debug mode, every warning."""
    interpret(code, '-X', 'dev', '-W', 'error')


def test_exit_status_of_a_handler():
    interpret("""
        emitter = EventEmitter()
        @emitter.on('a')
        def handler(event): sys.exit(7)
        asyncio.run(emitter.emit('a', 1))
        """, status=7)


def test_import_and_exit():
    assert interpret('pass') == ''


def test_the_import_does_not_need_a_loop_or_a_main_thread():
    code = """
        import threading
        def main():
            global EventEmitter
            from mtaio.events import EventEmitter
        thread = threading.Thread(target=main); thread.start(); thread.join()
        EventEmitter()
        """
    p = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True)
    assert (p.returncode, p.stderr) == (0, '')


# --- Subinterpreters: hazard 52

def test_subinterpreters_are_refused_or_work():
    interpret("""
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        code = '''
        try:
            import mtaio.events
        except ImportError as error:
            assert "subinterpreter" in str(error), error
        else:
            mtaio.events.EventEmitter().on("a")(print)
        '''
        import textwrap
        for i in range(20):
            interpreter = interpreters.create()
            interpreters.run_string(interpreter, textwrap.dedent(code))
            interpreters.destroy(interpreter)
        asyncio.run(EventEmitter().emit('a', 1))
        """)


# --- fork: hazard 29, 30

def test_fork():
    interpret("""
        import warnings
        warnings.simplefilter('ignore', DeprecationWarning)
        emitter, seen = EventEmitter(), []
        emitter.on('a')(lambda event: seen.append(event.data))
        def fork(event=None):
            child = os.fork()
            if child == 0:
                asyncio.run(emitter.emit('a', 'child'))
                emitter.on('b')(seen.append)
                os._exit(0 if seen == ['child'] else 1)
            assert os.waitpid(child, 0)[1] == 0
        fork()
        emitter.on('fork')(fork)
        asyncio.run(emitter.emit('fork', 1))
        asyncio.run(emitter.emit('a', 'parent'))
        assert seen == ['parent']
        """)


def test_multiprocessing_spawn_pickles(tmp_path):
    (tmp_path / 'program.py').write_text(textwrap.dedent("""
        import multiprocessing
        from mtaio.events import Event
        def work(event): return Event(event.name, event.data * 2, metadata=event.metadata)
        if __name__ == '__main__':
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                assert pool.map(work, [Event('a', 2, metadata={'m': 1})]) == [Event('a', 4, metadata={'m': 1})]
        """))
    p = subprocess.run([sys.executable, 'program.py'], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (p.returncode, p.stderr) == (0, '')


# --- Deep stacks: hazard 8

def test_nesting_in_a_thread_with_a_small_stack():
    interpret("""
        sanitized = 'asan' in os.environ.get('LD_PRELOAD', '')   # its frames are several times as large
        threading.stack_size((4096 if sanitized else 512) * 1024)
        emitter = EventEmitter()
        @emitter.on('a')
        async def handler(event): await emitter.emit('a', 1)
        def main():
            try: emitter.emit('a', 1).send(None)
            except (EventError, RecursionError): pass
            else: os._exit(1)
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
        """)


def test_a_high_recursion_limit():
    interpret("""
        sys.setrecursionlimit(10**6)
        emitter = EventEmitter()
        @emitter.on('a')
        async def handler(event): await emitter.emit('a', 1)
        try: asyncio.run(emitter.emit('a', 1))
        except EventError: pass
        """)


# --- Signals: hazard 31, 47

def test_keyboard_interrupt_between_handlers():
    interpret("""
        import signal
        emitter, seen = EventEmitter(), []
        for i in range(5):
            @emitter.on('a')
            def handler(event, i=i):
                if i == event.data: signal.raise_signal(signal.SIGINT)
                seen.append(i)
        for i in range(5):
            seen.clear()
            try:
                emitter.emit('a', i).send(None)
            except KeyboardInterrupt:
                pass
            assert seen == list(range(i)), seen
        asyncio.run(emitter.emit('a', -1))
        """)


def test_a_storm_of_signals():
    interpret("""
        import signal
        count = 0
        def tick(*args):
            global count
            count += 1
        signal.signal(signal.SIGALRM, tick)
        emitter, seen = EventEmitter(), []
        @emitter.on('a')
        async def handler(event):
            await asyncio.sleep(0)
            seen.append(1)
        async def main():
            channel = Channel('c')
            subscriber = await channel.subscribe(buffer_size=2)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
            end = time.monotonic() + 0.5
            n = 0
            while time.monotonic() < end:
                await emitter.emit('a', 1)
                await channel.publish(n)
                assert (await subscriber.receive()).data == n
                n += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert len(seen) == n
        asyncio.run(main())
        assert count > 10
        """)


# --- -X dev, -O, isolated

@pytest.mark.parametrize('options', [['-X', 'dev', '-W', 'error'], ['-OO'], ['-E', '-W', 'error'], ['-X', 'importtime'],
                                     ['-X', 'tracemalloc=20']], ids=' '.join)
def test_interpreter_options(options):
    if '-E' in options:
        path = os.environ.get('PYTHONPATH', '')
        options = [*options, '-c', f'import sys; sys.path[:0] = {path.split(":")!r}; import mtaio.events']
        p = subprocess.run([sys.executable, *options], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        return
    interpret("""
        emitter = EventEmitter()
        @emitter.on('a')
        async def handler(event): await asyncio.sleep(0)
        async def main():
            await emitter.emit('a', 1)
            async with emitter.batch_operations():
                await emitter.emit('a', 1)
            channel = Channel('c')
            subscriber = await channel.subscribe(['a.*'])
            await channel.publish(1, topic='a.b')
            await subscriber.receive()
        asyncio.run(main())
        """, *options)


def test_reloading_the_package():
    interpret("""
        import importlib
        import mtaio, mtaio.events, mtaio.exceptions
        emitter = EventEmitter()
        emitter.on('a')(lambda event: None)
        for _ in range(3):
            importlib.reload(mtaio.events)
            importlib.reload(mtaio)
            for name in [name for name in sys.modules if name.startswith('mtaio')]:
                del sys.modules[name]
            gc.collect()
            asyncio.run(emitter.emit('a', 1))
            import mtaio, mtaio.events
            asyncio.run(mtaio.events.EventEmitter().emit('a', 1))
            del mtaio
            import mtaio.events
        """)
