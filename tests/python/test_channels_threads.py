"""Channels between threads and event loops: blocking forms for plain threads, wake-ups of loops that run, rest, or are
closed, signals, and the end of the interpreter."""
import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from mtaio.events import Channel, Message
from mtaio.exceptions import ChannelClosedError, ChannelEmptyError, ChannelFullError, ChannelTimeoutError


def start(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


class LoopThread:
    """Another thread that runs a loop."""

    def __init__(self, new_loop):
        self.loop = new_loop()
        self.thread = start(self.loop.run_forever)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def end(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def other(new_loop):
    thread = LoopThread(new_loop)
    yield thread
    thread.end()


# --- Plain threads

def test_blocking_forms_that_need_not_wait():
    channel = Channel()
    subscriber = channel.subscribe_nowait()
    assert channel.publish_blocking(1, 'a', {'k': 1}) == 1 and channel.publish_blocking(2, timeout=5) == 1
    assert subscriber.receive_blocking() == Message(1, 'a', {'k': 1})
    assert [m.data for m in subscriber.receive_many_blocking()] == [2]


def test_receive_blocks_until_there_is_a_message():
    channel = Channel()
    subscriber = channel.subscribe_nowait()
    got = []
    thread = start(lambda: got.append(subscriber.receive_blocking().data))
    time.sleep(0.05)
    assert not got
    channel.publish_nowait(1)
    thread.join()
    assert got == [1]


def test_publish_blocks_until_there_is_room():
    channel = Channel(buffer_size=1)
    subscriber = channel.subscribe_nowait()
    channel.publish_nowait(0)
    thread = start(channel.publish_blocking, 1)
    time.sleep(0.05)
    assert thread.is_alive() and subscriber.stats.waiting == 1
    assert [subscriber.receive_blocking().data for _ in range(2)] == [0, 1]
    thread.join()


def test_time_limits_of_threads():
    channel = Channel('c', buffer_size=1)
    subscriber = channel.subscribe_nowait()
    for receive in subscriber.receive_blocking, lambda t: subscriber.receive_many_blocking(timeout=t):
        begin = time.monotonic()
        with pytest.raises(ChannelTimeoutError, match="'c'"):
            receive(0.05)
        assert 0.04 < time.monotonic() - begin < 60
    channel.publish_nowait(0)
    for timeout in 0.05, 0, -1:
        with pytest.raises(ChannelTimeoutError):
            channel.publish_blocking(1, timeout=timeout)
    # What has not been published in time reaches nobody.
    assert subscriber.receive_nowait().data == 0 and channel.stats.published == 1
    with pytest.raises(ChannelEmptyError):
        subscriber.receive_nowait()


def test_closing_ends_waiting_threads():
    """Hazard 27."""
    channel = Channel(buffer_size=1)
    subscriber, full = channel.subscribe_nowait('a'), channel.subscribe_nowait('b')
    channel.publish_nowait(0, 'b')
    errors = []

    def attempt(function, *args):
        try:
            function(*args)
        except ChannelClosedError:
            errors.append(1)
    threads = [start(attempt, subscriber.receive_blocking), start(attempt, subscriber.receive_blocking),
               start(attempt, subscriber.receive_many_blocking), start(attempt, channel.publish_blocking, 1, 'b')]
    time.sleep(0.05)
    channel.close()
    for thread in threads:
        thread.join()
    assert len(errors) == 4 and full.receive_nowait().data == 0


def test_threads_and_tasks_wait_in_one_line(run):
    """For the messages of one subscriber: each goes to one of them."""
    async def main():
        channel = Channel()
        subscriber = await channel.subscribe()
        got = []

        def in_thread():
            try:
                while True:
                    got.append(subscriber.receive_blocking().data)
            except ChannelClosedError:
                pass

        async def in_task():
            async for m in subscriber:
                got.append(m.data)
        threads, tasks = [start(in_thread) for _ in range(3)], [asyncio.create_task(in_task()) for _ in range(3)]
        for i in range(600):
            await channel.publish(i)
            if i % 50 == 0:
                await asyncio.sleep(0.001)
        channel.close()
        await asyncio.gather(*tasks)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert sorted(got) == list(range(600))
    run(main())


def test_many_publishers_and_receivers_in_threads():
    """Each publisher's messages stay in order; published = delivered + waiting."""
    channel = Channel(buffer_size=10)
    subscribers = [channel.subscribe_nowait() for _ in range(2)]
    got = [[], []]

    def publish(name):
        for i in range(300):
            channel.publish_blocking((name, i))

    def receive(subscriber, into):
        try:
            while True:
                into.append(subscriber.receive_blocking().data)
        except ChannelClosedError:
            pass
    receivers = [start(receive, *pair) for pair in zip(subscribers, got)]
    for thread in [start(publish, name) for name in 'abc']:
        thread.join()
    channel.close()
    for thread in receivers:
        thread.join()
    assert got[0] == got[1] and len(got[0]) == 900
    for name in 'abc':
        assert [i for n, i in got[0] if n == name] == list(range(300))
    assert channel.stats[:5] == (900, 1800, 1800, 0, 0)


def test_a_select_loop(run):
    """A subscriber has a descriptor, readable exactly while a receive would not have to wait."""
    channel = Channel()
    subscriber = channel.subscribe_nowait()

    def readable():
        return bool(select.select([subscriber], [], [], 0)[0])
    assert not readable()
    channel.publish_nowait(1)
    channel.publish_nowait(2)
    assert readable() and subscriber.receive_nowait().data == 1 and readable()
    assert subscriber.receive_nowait().data == 2 and not readable()
    channel.close()
    assert readable()

    async def main():
        channel = Channel()
        subscriber, loop, got = channel.subscribe_nowait(), asyncio.get_running_loop(), []
        loop.add_reader(subscriber.fileno(), lambda: got.append(subscriber.receive_nowait().data))
        thread = start(channel.publish_blocking, 1)
        while not got:
            await asyncio.sleep(0.001)
        loop.remove_reader(subscriber.fileno())
        thread.join()
        assert got == [1]
    run(main())


# --- Loops

def test_from_a_thread_to_a_loop(run):
    async def main():
        channel = Channel()
        subscriber = await channel.subscribe()
        thread = start(lambda: [channel.publish_blocking(i) for i in range(5000)])
        assert [(await subscriber.receive()).data for _ in range(5000)] == list(range(5000))
        thread.join()
    run(main())


def test_from_a_loop_to_a_thread_and_back(run):
    async def main():
        there, back = Channel(), Channel()
        requests, answers = await there.subscribe(), await back.subscribe()

        def serve():
            try:
                while True:
                    back.publish_blocking(requests.receive_blocking().data * 2)
            except ChannelClosedError:
                pass
        thread = start(serve)
        for i in range(200):
            await there.publish(i)
            assert (await asyncio.wait_for(answers.receive(), 10)).data == i * 2
        there.close()
        await asyncio.to_thread(thread.join)
    run(main())


def test_between_two_loops_with_back_pressure(run, other):
    """Hazard 50: either side waits for the other, each on a loop of its own."""
    async def main():
        channel = Channel(buffer_size=2)
        subscriber = await channel.subscribe()

        async def publish():
            return [await channel.publish(i) for i in range(500)]
        publishing = other.run(publish())
        got = [(await subscriber.receive()).data for _ in range(500)]
        assert got == list(range(500)) and await asyncio.wrap_future(publishing) == [1] * 500
    run(main())


def test_one_subscriber_in_two_loops(run, other):
    """Hazard 50."""
    async def main():
        channel = Channel()
        subscriber = await channel.subscribe()

        async def consume():
            return [m.data async for m in subscriber]
        elsewhere, here = other.run(consume()), asyncio.create_task(consume())
        for i in range(400):
            await channel.publish(i)
            if i % 20 == 0:
                await asyncio.sleep(0.001)
        channel.close()
        got = await here + await asyncio.wrap_future(elsewhere)
        assert sorted(got) == list(range(400))
    run(main())


def test_wake_ups_of_a_loop_are_gathered(monkeypatch):
    """However many tasks are to be woken, another thread calls the loop once."""
    calls = []

    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, callback, *args, **kwargs):
            calls.append(callback)
            return super().call_soon_threadsafe(callback, *args, **kwargs)

    async def main():
        channel = Channel()
        subscribers = [await channel.subscribe() for _ in range(50)]
        tasks = [asyncio.create_task(s.receive()) for s in subscribers]
        await asyncio.sleep(0)
        thread = start(channel.publish_blocking, 1)
        thread.join()   # the loop stands still meanwhile
        assert len(calls) == 1
        assert [m.data for m in await asyncio.gather(*tasks)] == [1] * 50
    loop = Loop()
    loop.run_until_complete(main())
    loop.close()


def test_on_its_own_thread_a_loop_is_woken_directly(monkeypatch):
    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *args, **kwargs):
            raise AssertionError

    async def main():
        channel = Channel()
        subscriber = await channel.subscribe()
        task = asyncio.create_task(subscriber.receive())
        await asyncio.sleep(0)
        await channel.publish(1)
        assert (await task).data == 1
    loop = Loop()
    loop.run_until_complete(main())
    loop.close()


def test_a_loop_that_rests(new_loop):
    """Woken while it does not run, it goes on when it runs again."""
    channel = Channel()
    loop = new_loop()
    subscriber = loop.run_until_complete(channel.subscribe())
    task = loop.create_task(subscriber.receive())
    loop.run_until_complete(asyncio.sleep(0))
    channel.publish_blocking(1)
    assert not task.done()
    assert loop.run_until_complete(task).data == 1
    loop.close()


def test_a_loop_that_was_closed_while_somebody_waited(new_loop):
    """Hazard 49: nothing crashes, the wake-up is counted as lost, and the message is still there."""
    channel = Channel(buffer_size=1)
    loop = new_loop()
    subscriber = loop.run_until_complete(channel.subscribe())
    task = loop.create_task(subscriber.receive())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    channel.publish_blocking(1)
    assert subscriber.stats.lost_wakeups == 1
    assert subscriber.receive_nowait().data == 1
    task._log_destroy_pending = False


def test_a_publisher_in_a_loop_that_was_closed(new_loop):
    """Hazard 49: what it published arrives all the same."""
    channel = Channel(buffer_size=1)
    loop = new_loop()
    subscriber = loop.run_until_complete(channel.subscribe())
    channel.publish_nowait(0)
    task = loop.create_task(channel.publish(1))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert [subscriber.receive_blocking(timeout=60).data for _ in range(2)] == [0, 1]
    assert channel.stats.lost_wakeups == 1
    task._log_destroy_pending = False


def test_others_go_on_where_a_loop_was_closed(new_loop):
    """Hazard 49: the next in the line is woken instead."""
    channel = Channel()
    dead, alive = new_loop(), new_loop()
    subscriber = dead.run_until_complete(channel.subscribe())
    left = dead.create_task(subscriber.receive())
    dead.run_until_complete(asyncio.sleep(0))
    task = alive.create_task(subscriber.receive())
    alive.run_until_complete(asyncio.sleep(0))
    dead.close()
    channel.publish_blocking(1)
    assert alive.run_until_complete(asyncio.wait_for(task, 60)).data == 1
    alive.close()
    left._log_destroy_pending = False


def test_without_a_loop():
    """Hazard 50: what need not wait works anywhere, what must wait says what it lacks."""
    channel = Channel(buffer_size=1)
    subscriber = channel.subscribe_nowait()
    channel.publish_nowait(1)
    with pytest.raises(ChannelFullError):
        channel.publish_nowait(2)
    with pytest.raises(RuntimeError, match='no running event loop'):
        channel.publish(2).send(None)
    assert subscriber.receive_nowait().data == 1


@pytest.mark.parametrize('rounds', [30])
def test_opening_and_closing_from_everywhere(rounds):
    """Publishers, receivers, subscribing, unsubscribing and closing race: everybody comes to an end."""
    for _ in range(rounds):
        channel = Channel(buffer_size=2)
        barrier = threading.Barrier(5)

        def attempt(function):
            barrier.wait()
            try:
                for _ in range(20):
                    function()
            except (ChannelClosedError, ChannelTimeoutError):
                pass
        subscriber = channel.subscribe_nowait()
        threads = [start(attempt, lambda: channel.publish_blocking(1, timeout=2)),
                   start(attempt, lambda: subscriber.receive_blocking(timeout=2)),
                   start(attempt, lambda: channel.subscribe_nowait().unsubscribe()),
                   start(attempt, lambda: (subscriber.add('a.*'), subscriber.drop('a.*')))]
        barrier.wait()
        time.sleep(0.0005)
        channel.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        stats = channel.stats
        assert stats.reached == stats.delivered + stats.dropped + stats.waiting


# --- Signals

@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason='not in the main thread')
@pytest.mark.parametrize('what', ['receive', 'publish'])
def test_keyboard_interrupt_ends_a_blocking_call(what):
    """Nothing is lost by it."""
    channel = Channel(buffer_size=1)
    subscriber = channel.subscribe_nowait()
    if what == 'publish':
        channel.publish_nowait(0)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            if what == 'publish':
                channel.publish_blocking(1)
            else:
                subscriber.receive_blocking()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if what == 'receive':
        channel.publish_nowait(0)
    assert subscriber.receive_nowait().data == 0
    with pytest.raises(ChannelEmptyError):
        subscriber.receive_nowait()


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason='not in the main thread')
def test_a_signal_does_not_end_a_blocking_call():
    """Its handler runs, and the wait goes on."""
    channel = Channel()
    subscriber = channel.subscribe_nowait()
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *args: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        while len(seen) < 3:   # on a busy machine few signals come in time
            begin = time.monotonic()
            with pytest.raises(ChannelTimeoutError):
                subscriber.receive_blocking(timeout=0.1)
            assert time.monotonic() - begin >= 0.09
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- The end of the interpreter

ENDS = {
    'waiting tasks': """
        channel = Channel()
        async def main():
            global subscriber, tasks
            subscriber = await channel.subscribe()
            tasks = [loop.create_task(subscriber.receive()) for _ in range(3)]
            await asyncio.sleep(0)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        for task in tasks: task._log_destroy_pending = False
        loop.close()
        """,
    'threads that wait': """
        channel = Channel(buffer_size=1)
        subscriber = channel.subscribe_nowait('a')
        full = channel.subscribe_nowait('b')
        channel.publish_nowait(1, 'b')
        for f in subscriber.receive_blocking, lambda: channel.publish_blocking(1, 'b'):
            threading.Thread(target=f, daemon=True).start()
        time.sleep(0.05)
        """,
    'threads that are busy': """
        channel = Channel(buffer_size=4)
        subscriber = channel.subscribe_nowait()
        def publish():
            while True: channel.publish_blocking([channel], 'a', {'x': 1})
        def receive():
            while True: subscriber.receive_blocking()
        for f in publish, publish, receive: threading.Thread(target=f, daemon=True).start()
        time.sleep(0.05)
        """,
    'a loop in a daemon thread': """
        channel = Channel()
        async def consume():
            async for m in await channel.subscribe(): pass
        threading.Thread(target=asyncio.run, args=[consume()], daemon=True).start()
        end = time.monotonic() + 0.05
        while time.monotonic() < end: channel.publish_blocking([channel])
        """,
    'messages left in buffers': """
        channel = Channel(replay=5)
        subscriber = channel.subscribe_nowait()
        class Loud:
            def __del__(self): channel and channel.publish_nowait(1)
        for _ in range(10): channel.publish_nowait(Loud(), 'a')
        """,
    'at exit': """
        channel = Channel()
        subscriber = channel.subscribe_nowait()
        def last():
            channel.publish_nowait(1)
            assert subscriber.receive_blocking().data == 1
            assert asyncio.run(channel.publish(2)) == 1
            channel.close()
        atexit.register(last)
        """,
    'an operation that was begun': """
        channel = Channel(buffer_size=1)
        subscriber = channel.subscribe_nowait()
        channel.publish_nowait(1)
        async def main():
            global one, two
            one, two = channel.publish(2), channel.subscribe_nowait('x').receive()
            one.send(None), two.send(None)
        asyncio.run(main())
        """,
}


@pytest.mark.parametrize('program', ENDS.values(), ids=ENDS.keys())
def test_the_interpreter_ends(program):
    """Hazard 51."""
    preamble = 'import asyncio, atexit, sys, threading, time\nfrom mtaio.events import Channel\n'
    p = subprocess.run([sys.executable, '-X', 'dev', '-c', preamble + textwrap.dedent(program)], capture_output=True,
                       text=True, timeout=60, env={**os.environ, 'PYTHONASYNCIODEBUG': '0'})
    assert (p.returncode, p.stderr) == (0, ''), p.stderr


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_child_of_fork_makes_channels_of_its_own():
    Channel().publish_nowait(1)
    pid = os.fork()
    if pid == 0:
        try:
            channel = Channel()
            subscriber = channel.subscribe_nowait()
            thread = start(channel.publish_blocking, 1)
            good = subscriber.receive_blocking(timeout=60).data == 1
            thread.join()
            os._exit(0 if good else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Boom(Exception):
    pass


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason='not in the main thread')
@pytest.mark.parametrize('before', [True, False], ids=['before', 'after'])
def test_a_signal_handler_that_raises_while_a_loop_is_woken(before):
    """It runs within the loop's own method: the receiver is woken all the same, and the exception comes afterwards."""
    class Loop(asyncio.SelectorEventLoop):
        interrupted = False

        def call_soon_threadsafe(self, callback, *args, **kwargs):
            if before and not self.interrupted and not isinstance(callback, type(self.stop)):
                self.interrupted = True
                raise Boom
            handle = super().call_soon_threadsafe(callback, *args, **kwargs)
            if not before and not self.interrupted:
                self.interrupted = True
                raise Boom
            return handle
    channel = Channel()
    loop = Loop()
    subscriber = loop.run_until_complete(channel.subscribe())
    task = loop.create_task(subscriber.receive())
    loop.run_until_complete(asyncio.sleep(0))
    with pytest.raises(Boom):
        channel.publish_nowait(1)
        for _ in range(1000):
            pass
    assert loop.interrupted and loop.run_until_complete(asyncio.wait_for(task, 60)).data == 1
    loop.close()
