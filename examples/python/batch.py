"""Inside a batch events are recorded; at its end each handler is called once with those that match."""
import asyncio

from mtaio.events import EventEmitter

emitter = EventEmitter()


@emitter.on("item.*")
async def handle(event):   # the same handler for one event and for many
    for item in event.events:
        print(f"{item.name}: {item.data}")
    print(f"that was {event.name}: {event.data}")


async def main():
    await emitter.emit("item.added", "apple")
    async with emitter.batch_operations():
        await emitter.emit("item.added", "pear")
        await emitter.emit("item.removed", "apple")
        print("recorded")


asyncio.run(main())
