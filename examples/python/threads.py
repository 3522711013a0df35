"""A plain thread publishes, an event loop receives."""
import asyncio
import threading

from mtaio.events import Channel


def measure(channel):
    for temperature in 19, 20, 21:
        channel.publish_blocking(temperature)   # waits where the buffer is full
    channel.close()


async def main():
    channel = Channel[int]("temperatures")
    subscriber = await channel.subscribe(buffer_size=1)
    sensor = threading.Thread(target=measure, args=[channel])
    sensor.start()
    async for message in subscriber:
        print(f"{message.data} °C")
    sensor.join()


asyncio.run(main())
