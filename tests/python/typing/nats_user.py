"""What a user of channels over NATS writes: mypy --strict has nothing to say about it."""
import asyncio
from typing import Any

from typing_extensions import assert_type

from mtaio import nats
from mtaio.events import Channel, Event, EventEmitter, TopicChannel
from mtaio.exceptions import ChannelError, NatsClosedError, NatsError, NatsHandlerError, NatsNoRespondersError, NatsTimeoutError

events = EventEmitter()


@events.on('nats.lost')
def lost(event: Event[nats.State]) -> None:
    assert_type(event.data.count, int)
    assert_type(event.data.text, str)


class Own:
    def encode(self, data: Any, /) -> bytes:
        return bytes(data)

    def decode(self, data: bytes, /) -> int:
        return len(data)


async def main() -> None:
    async with await nats.connect(['nats://a', 'nats://b'], events=events, timeout=1, send_asap=True) as connection:
        assert_type(connection, nats.Connection)
        channel = Channel[dict[str, int]]('orders')
        binding = await connection.bind(channel, 'shop', send=['order.**'], take='*', codec='json', overflow='drop_oldest')
        assert_type(binding, nats.Binding)
        await connection.bind(TopicChannel[bytes](), 'shop', take='*')
        await connection.bind(Channel[int](), 'shop', take='*', codec=Own())
        assert_type(binding.stats.sent, int)

        @binding.serve('price.*')
        async def price(request: nats.Request) -> dict[str, int]:
            return {request.topic: 5}

        assert_type(await price(nats.Request('price.tea', None)), dict[str, int])
        await binding.serve('double', lambda request: request.data * 2, group='g')
        try:
            assert_type(await binding.request('price.tea', {'id': 42}, timeout=1), Any)
        except (NatsHandlerError, NatsTimeoutError, NatsNoRespondersError, NatsClosedError, NatsError, ChannelError):
            pass
        await binding.flush(timeout=1.5)
        await binding.close()


asyncio.run(main())
