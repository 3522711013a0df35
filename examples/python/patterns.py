"""A whole segment of a pattern may be * (one segment) or ** (any number); * alone matches everything."""
import asyncio

from mtaio.events import EventEmitter
from mtaio.exceptions import EventError

emitter = EventEmitter()
for pattern in "user.*", "user.**", "**.created", "*":
    emitter.on(pattern)(lambda event, pattern=pattern: print(f"{event.name} matches {pattern}"))


async def main():
    for name in "user.created", "user.group.created", "shutdown":
        await emitter.emit(name, None)
    try:
        emitter.on("log*")(print)
    except EventError as error:
        print(f"refused: {error}")


asyncio.run(main())
