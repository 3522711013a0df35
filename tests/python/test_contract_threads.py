"""Several threads and several event loops use one emitter, or one channel, at once."""
import asyncio
import queue
import threading

import pytest

from mtaio.events import Channel, EventEmitter, EventPriority
from mtaio.exceptions import ChannelClosedError, EventEmitError, EventHandlerError

ROUNDS = 200


@pytest.fixture
def other_loop(new_loop):
    """An event loop of another thread."""
    ready, loops = threading.Event(), []

    def main():
        loop = new_loop()
        asyncio.set_event_loop(loop)
        loops.append(loop)
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    thread = threading.Thread(target=main)
    thread.start()
    ready.wait()
    yield loops[0]
    if loops[0].is_running():
        loops[0].call_soon_threadsafe(loops[0].stop)
    thread.join()


def in_threads(*functions):
    """Runs them at once, from one barrier; raises what any of them raised."""
    barrier, errors = threading.Barrier(len(functions)), []

    def main(function):
        barrier.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=main, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# --- Emitters

def test_several_loops_emit_at_once(emitter):
    """Hazard 50: each runs the handler in its own loop."""
    seen, lock = [], threading.Lock()

    @emitter.on('a')
    async def handler(event):
        await asyncio.sleep(0)
        with lock:
            seen.append((event.data, threading.get_ident()))

    async def main():
        for _ in range(ROUNDS):
            await emitter.emit('a', threading.get_ident())
    in_threads(*[lambda: asyncio.run(main())] * 4)
    assert len(seen) == 4 * ROUNDS and all(a == b for a, b in seen)


def test_adding_removing_and_emitting_at_once(emitter):
    """Hazard 4."""
    stop = threading.Event()

    def churn():
        def handler(event):
            pass
        while not stop.is_set():
            emitter.on('a')(handler)
            emitter.on('*')(handler)
            emitter.once('a')(handler)
            listener = emitter.add_listener('a', handler)
            listener.cancel()
            emitter.off('a', handler)
            emitter.off('*', handler)

    def emit():
        async def main():
            for _ in range(ROUNDS * 5):
                await emitter.emit('a', 1)
        try:
            asyncio.run(main())
        finally:
            stop.set()
    in_threads(churn, emit, churn)
    assert emitter.listener_count() == 0


def test_two_threads_remove_the_same_handler(emitter):
    """Hazard 5: exactly one of them is told that it was there."""
    def handler(event):
        pass
    found = []
    for _ in range(ROUNDS):
        emitter.on('a')(handler)
        in_threads(*[lambda: found.append(emitter.off('a', handler))] * 2)
    assert sum(found) == ROUNDS and set(found) <= {0, 1}


def test_once_under_racing_emissions(emitter):
    """Hazard 9."""
    calls = []

    def emit():
        try:
            emitter.emit('a', 1).send(None)
        except StopIteration:
            pass
    for round_ in range(ROUNDS):
        emitter.once('a')(lambda event: calls.append(event.data))
        in_threads(emit, emit)
        assert len(calls) == round_ + 1


def test_no_emission_after_remove_calls_the_handler(emitter):
    stop = threading.Event()

    def emit():
        async def main():
            while not stop.is_set():
                await emitter.emit('a', 1)
        asyncio.run(main())

    def churn():
        try:
            for _ in range(ROUNDS):
                late, removed = [], []

                def handler(event):
                    if removed:
                        late.append(1)
                emitter.on('a')(handler)
                emitter.off('a', handler)
                asyncio.run(emitter.emit('a', 1))
                assert late == []
        finally:
            stop.set()
    in_threads(emit, churn)


async def test_a_handler_bound_to_a_loop_runs_there(emitter, other_loop):
    seen = []

    @emitter.on('a', loop=other_loop)
    async def bound(event):
        await asyncio.sleep(0)
        seen.append(('bound', threading.get_ident(), asyncio.get_running_loop()))
    emitter.on('a')(lambda event: seen.append(('here', threading.get_ident())))
    await emitter.emit('a', 1)
    assert [s[0] for s in seen] == ['bound', 'here']
    assert seen[0][1] != threading.get_ident() == seen[1][1] and seen[0][2] is other_loop


async def test_a_plain_handler_bound_to_a_loop_runs_there(emitter, other_loop):
    seen = []
    emitter.on('a', loop=other_loop)(lambda event: seen.append(threading.get_ident()))
    await emitter.emit('a', 1)
    assert seen and seen[0] != threading.get_ident()


async def test_a_handler_bound_to_the_running_loop(emitter):
    seen = []

    @emitter.on('a', loop=asyncio.get_running_loop())
    async def bound(event):
        await asyncio.sleep(0)
        seen.append(event.data)
    await emitter.emit('a', 1)
    assert seen == [1]


async def test_a_failure_of_a_bound_handler_comes_back(emitter, other_loop):
    @emitter.on('a', loop=other_loop)
    async def bound(event):
        await asyncio.sleep(0)
        raise ValueError('there')
    with pytest.raises(EventHandlerError) as caught:
        await emitter.emit('a', 1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert emitter.off('a', bound) == 1


async def test_cancelling_reaches_a_bound_handler(emitter, other_loop):
    began, seen = threading.Event(), queue.Queue()

    @emitter.on('a', loop=other_loop)
    async def bound(event):
        began.set()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.put('cancelled')
            raise
    task = asyncio.create_task(emitter.emit('a', 1))
    while not began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.get(timeout=60) == 'cancelled'


async def test_a_handler_bound_to_a_closed_loop_fails(emitter, other_loop):
    """Hazard 49."""
    @emitter.on('a', loop=other_loop)
    async def bound(event):
        raise AssertionError('called')
    other_loop.call_soon_threadsafe(other_loop.stop)
    while not other_loop.is_closed():
        await asyncio.sleep(0.001)
    seen = []
    emitter.on('a')(lambda event: seen.append(1))
    with pytest.raises(EventHandlerError) as caught:
        await asyncio.wait_for(emitter.emit('a', 1), 60)
    assert isinstance(caught.value.__cause__, RuntimeError) and seen == [1]


async def test_emit_nowait_from_a_thread_without_a_loop(emitter):
    seen = []
    emitter.on('a')(lambda event: seen.append((event.data, threading.get_ident())))

    def main():
        emitter.emit_nowait('a', 1)
        seen.append(threading.get_ident())
    await asyncio.to_thread(main)
    assert seen[0] == (1, seen[1])


def test_emitting_while_another_thread_closes():
    """Hazard 7."""
    for _ in range(20):
        emitter = EventEmitter()
        emitter.on('a')(lambda event: None)

        async def main(emitter=emitter):
            with pytest.raises(EventEmitError):
                while True:
                    await emitter.emit('a', 1)

        def close(emitter=emitter):
            async def main():
                result = emitter.close()
                if result is not None:
                    await result
            asyncio.run(main())
        in_threads(lambda: asyncio.run(main()), close)


def test_emitting_while_another_thread_collects(emitter):
    import gc
    stop = threading.Event()

    def collect():
        while not stop.is_set():
            gc.collect()

    def emit():
        async def main():
            for i in range(ROUNDS):
                local = EventEmitter()

                @local.filter(lambda event: True).on('a')
                async def handler(event, local=local):
                    await asyncio.sleep(0)
                await local.emit('a', i)
        try:
            asyncio.run(main())
        finally:
            stop.set()
    in_threads(collect, emit)


def test_emissions_left_suspended_in_a_thread_that_ends(emitter):
    """Hazard 33."""
    import types

    @types.coroutine
    def suspend():
        yield 1
    emitter.on('a')(lambda event: suspend())
    left = []

    def main():
        pending = emitter.emit('a', 1)
        pending.send(None)
        left.append(pending)
    in_threads(*[main] * 8)
    for pending in left:
        with pytest.raises(StopIteration):
            pending.send(None)


async def test_wait_for_across_loops(emitter, other_loop):
    """An event of one thread ends a wait in the other's loop."""
    waiting = asyncio.run_coroutine_threadsafe(wait_for(emitter, 'a'), other_loop)
    while emitter.listener_count('a') == 0:
        await asyncio.sleep(0.001)
    await emitter.emit('a', 7)
    event = await asyncio.wrap_future(waiting)
    assert event.data == 7


async def wait_for(emitter, name):
    return await emitter.wait_for(name, timeout=60)


# --- Channels

def test_from_threads_to_asyncio(run):
    async def main():
        channel = Channel[int]('numbers')
        subscriber = await channel.subscribe()

        def publish(start):
            for i in range(start, start + 1000):
                channel.publish_blocking(i)
        threads = [threading.Thread(target=publish, args=[n * 1000]) for n in range(3)]
        for thread in threads:
            thread.start()
        got = [(await subscriber.receive()).data for _ in range(3000)]
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert sorted(got) == list(range(3000))
        for n in range(3):
            of_one = [x for x in got if x // 1000 == n]
            assert of_one == sorted(of_one)
    run(main())


def test_from_asyncio_to_threads(run):
    async def main():
        channel = Channel[int]('numbers')
        subscriber = await channel.subscribe(buffer_size=10)
        got = []

        def receive():
            try:
                while True:
                    got.append(subscriber.receive_blocking().data)
            except ChannelClosedError:
                pass
        threads = [threading.Thread(target=receive) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(1000):
            await channel.publish(i)
        await finish(channel.close())
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert sorted(got) == list(range(1000))
    run(main())


async def finish(result):
    if result is not None:
        await result


def test_between_two_loops(run, other_loop):
    async def main():
        channel = Channel[int]('numbers')

        async def receive():
            subscriber = await channel.subscribe(buffer_size=3)
            ready.set()
            return [message.data async for message in subscriber]
        ready = threading.Event()
        receiving = asyncio.run_coroutine_threadsafe(receive(), other_loop)
        await asyncio.to_thread(ready.wait)
        for i in range(500):
            await channel.publish(i)
        await finish(channel.close())
        assert await asyncio.wrap_future(receiving) == list(range(500))
    run(main())


def test_a_thread_blocks_until_there_is_room():
    channel = Channel[int]('numbers')
    subscriber = channel.subscribe_nowait(buffer_size=1) if hasattr(channel, 'subscribe_nowait') \
        else asyncio.run(subscribe(channel, 1))
    order = []

    def publish():
        for i in range(3):
            channel.publish_blocking(i)
            order.append(i)
    thread = threading.Thread(target=publish)
    thread.start()
    got = [subscriber.receive_blocking(timeout=60).data for _ in range(3)]
    thread.join()
    assert got == order == [0, 1, 2]


async def subscribe(channel, size):
    return await channel.subscribe(buffer_size=size)


def test_a_message_to_a_loop_that_was_closed(new_loop):
    """Hazard 49: a pending receive of a loop that is gone."""
    channel = Channel[int]('numbers')
    loop = new_loop()

    async def main():
        subscriber = await channel.subscribe()
        task = asyncio.create_task(subscriber.receive())
        await asyncio.sleep(0)
        return subscriber, task
    subscriber, task = loop.run_until_complete(main())
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    channel.publish_blocking(1)
    assert subscriber.receive_nowait().data == 1


def test_a_bound_priority_order_across_loops(run, other_loop):
    async def main():
        emitter, seen = EventEmitter(), []
        emitter.on('a', EventPriority.LOW)(lambda event: seen.append('low'))
        emitter.on('a', EventPriority.HIGH, loop=other_loop)(lambda event: seen.append('high, there'))
        emitter.on('a', EventPriority.MONITOR, loop=other_loop)(lambda event: seen.append('monitor, there'))
        for _ in range(20):
            seen.clear()
            await emitter.emit('a', 1)
            assert seen == ['high, there', 'low', 'monitor, there']
    run(main())
