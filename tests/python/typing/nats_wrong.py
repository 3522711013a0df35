"""What mypy must find wrong: exactly the lines that say so."""
from mtaio import nats
from mtaio.events import Channel

channel = Channel[int]('c')


async def main() -> None:
    await nats.connect(5)   # wrong
    await nats.connect(events=channel)   # wrong
    await nats.connect('url', 'name')   # wrong
    connection = await nats.connect()
    connection.bind(channel, 'shop', send='*')   # wrong
    await connection.bind('channel', 'shop')   # wrong
    await connection.bind(channel, 'shop', codec='xml')   # wrong
    await connection.bind(channel, 'shop', codec=5)   # wrong
    await connection.bind(channel, 'shop', overflow='sometimes')   # wrong
    binding = await connection.bind(channel, 'shop', send='*')
    await binding.request(5)   # wrong
    binding.serve('x', 5)   # wrong
    binding.serve('x', print, 'group')   # wrong
    binding.serve('x', lambda request: request.nothing)   # wrong
    nats.State('a').count = 5   # wrong
