"""Channels in Python: mtaio, a fan-out over asyncio.Queue, and from a thread to a loop."""
import asyncio
import threading

from mtaio.events import Channel

from python_plain import CoalescedQueue, QueueFanOut

try:
    import janus
except ImportError:
    janus = None

BURST = 1000   # messages from the thread for each time


# --- In one task

def queues(count):
    fan_out = QueueFanOut(count)

    async def run(times):
        for _ in range(times):
            await fan_out.publish(1)
            for queue in fan_out.queues:
                await queue.get()
    return run


def channel(bench, count):
    numbers = Channel('numbers')

    async def subscribe():
        return [await numbers.subscribe() for _ in range(count)]
    subscribers = bench.loop.run_until_complete(subscribe())

    async def run(times):
        for _ in range(times):
            await numbers.publish(1)
            for subscriber in subscribers:
                await subscriber.receive()
    return run


# --- From a thread to the loop

def from_thread(put, get):
    """put(i) in a thread, get() on the loop: seconds, by the receiver's clock."""
    async def run(times):
        count = times * BURST

        def send():
            for i in range(count):
                put(i)
        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(count):
            await get()
        thread.join()
    return run


def with_queue(bench):
    queue = CoalescedQueue(bench.loop)
    return from_thread(queue.put, queue.get)


def with_channel(bench):
    numbers = Channel('numbers')
    subscriber = bench.loop.run_until_complete(numbers.subscribe())
    return from_thread(numbers.publish_blocking, subscriber.receive)


def with_janus(bench):
    async def make():
        return janus.Queue()
    queue = bench.loop.run_until_complete(make())
    return from_thread(queue.sync_q.put, queue.async_q.get)


def run(bench):
    for count in 1, 3:
        if bench.wanted(f'python channel/{count}'):
            bench.case(f'python channel/{count}', [('asyncio.Queue', queues(count)), ('mtaio', channel(bench, count))])
    if bench.wanted('python thread'):
        bench.case('python thread', [('by hand', with_queue(bench)), ('mtaio', with_channel(bench)),
                                     *([('janus', with_janus(bench))] if janus else [])], per=BURST)
