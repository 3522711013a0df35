"""The other process of tests/python/test_nats_processes.py and its kin.
Usage: nats_peer.py URL WHAT [ARGUMENT...]; what it has to say is the last line that it prints."""
import asyncio
import json
import sys
import time

from mtaio import nats
from mtaio.events import Channel, EventEmitter


async def publish(url, count, close='close'):
    """Numbers, as JSON; then stays until it is told to go."""
    channel = Channel()
    async with await nats.connect(url) as connection:
        binding = await connection.bind(channel, 'shop', send='*', codec='json')
        for i in range(int(count)):
            await channel.publish(i, topic='number')
        await connection.close(60)
        print(json.dumps(vars(binding.stats)))


async def publish_steadily(url, count):
    """A number each millisecond or so, whatever becomes of the server."""
    channel = Channel()
    connection = await nats.connect(url, retry=0.02)
    binding = await connection.bind(channel, 'shop', send='*', codec='json')
    print('ready', flush=True)
    begin = time.monotonic()
    for i in range(int(count)):
        await channel.publish(i, topic='number')
        while time.monotonic() < begin + i * 0.001:
            await asyncio.sleep(0.0005)
    await connection.close(60)
    print(json.dumps(vars(binding.stats)))


async def count(url, wanted):
    """Until so many have come: whether each was there once and in order, and what was counted."""
    channel, events, lost = Channel(), EventEmitter(), []
    events.on('nats.lost', lambda event: lost.append(event.data.count))
    subscriber = channel.subscribe_nowait()
    async with await nats.connect(url, events=events, retry=0.02) as connection:
        binding = await connection.bind(channel, 'shop', take='*', codec='json')
        print('ready', flush=True)
        next_one, skipped = 0, 0
        while next_one < int(wanted):
            for message in await subscriber.receive_many(timeout=60):
                assert message.data >= next_one, 'twice, or not in order'
                skipped += message.data - next_one
                next_one = message.data + 1
        await asyncio.sleep(0)
        print(json.dumps({**vars(binding.stats), 'skipped': skipped, 'told': sum(lost)}))


async def serve(url):
    async with await nats.connect(url, send_asap=True) as connection:
        binding = await connection.bind(Channel(), 'shop', send='*', codec='str')
        stopped = asyncio.Event()
        await binding.serve('stock.*', lambda request: f'{request.topic}: {request.data}')
        await binding.serve('stop', lambda request: stopped.set())
        print('ready', flush=True)
        await stopped.wait()
        await asyncio.sleep(0.05)


if __name__ == '__main__':
    asyncio.run({'publish': publish, 'steadily': publish_steadily, 'count': count, 'serve': serve}[sys.argv[2]](
        sys.argv[1], *sys.argv[3:]))
