"""A failing handler keeps no other from running; emit reports all. An "error" event that nobody handles is a failure."""
import asyncio

from mtaio.events import EventEmitter
from mtaio.exceptions import EventEmitError, EventHandlerError

emitter = EventEmitter()


@emitter.on("save")
async def to_disk(event):
    raise OSError("disk full")


@emitter.on("save")
async def to_cloud(event):
    print(f"in the cloud: {event.data}")


async def main():
    try:
        await emitter.emit("save", "letter")
    except EventHandlerError as error:
        print(error)
        for handler, failure in error.errors:
            print(f"{handler.__name__}: {failure!r}")
    try:
        await emitter.emit("error", ValueError("nobody listens"))
    except EventEmitError as error:
        print(f"{error.__cause__!r}")


asyncio.run(main())
