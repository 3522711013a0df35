"""Prints the orders that nats_publisher publishes, and what happens to the connection: as nats_subscriber.c does.
Usage: nats_subscriber.py [URL [COUNT]]; without COUNT it goes on for ever."""
import asyncio
import sys

from mtaio import nats
from mtaio.events import Channel, EventEmitter
from mtaio.exceptions import NatsError


async def main(url: str = 'nats://127.0.0.1:4222', count: int = -1) -> None:
    events: EventEmitter = EventEmitter()
    channel: Channel[str] = Channel()
    subscriber = await channel.subscribe(['order.**'])

    @events.on('nats.*')
    def tell(event):
        print(event.name, event.data.server + event.data.text, file=sys.stderr, flush=True)

    async with await nats.connect(url, events=events) as connection:
        await connection.bind(channel, 'shop', take='*', codec='str')
        while count != 0:
            message = await subscriber.receive()
            print(f'{message.topic}: {message.data}', flush=True)
            count -= count > 0


if __name__ == '__main__':
    try:
        asyncio.run(main(*sys.argv[1:2], *map(int, sys.argv[2:3])))
    except NatsError as error:
        sys.exit(f'{error} (does nats-server run?)')
    except KeyboardInterrupt:
        pass
