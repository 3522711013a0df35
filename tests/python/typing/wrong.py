"""What mypy must find wrong: exactly the lines that say so."""
from typing import Any

from mtaio.events import Channel, Event, EventEmitter, EventPriority

emitter = EventEmitter()
channel = Channel[str]('c')

emitter.on('a', priority=3)(print)   # wrong
emitter.on(5)   # wrong
emitter.add_listener('a', None)   # wrong
Event('a')   # wrong
EventEmitter('name')   # wrong
emitter.filter(5)   # wrong
emitter.map(lambda event: 5)   # wrong
emitter.add_hook('sometimes', print)   # wrong
Channel('c', overflow='sometimes')   # wrong


@emitter.on('a', EventPriority.LOW)   # wrong
def two_arguments(event: Event[Any], more: int) -> None:
    pass


async def awaiting() -> None:
    emitter.emit('a', 1)   # wrong
    await channel.publish(5)   # wrong
    number: int = (await (await channel.subscribe()).receive()).data   # wrong
    print(number)
