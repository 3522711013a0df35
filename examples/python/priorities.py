"""HIGHEST first, then by registration; a handler may stop an event, but not for monitors."""
import asyncio

from mtaio.events import EventEmitter, EventPriority

emitter = EventEmitter()


@emitter.on("order.*", priority=EventPriority.MONITOR)
def log(event):
    print(f"log: {event.name} {event.data}, stopped: {not event.propagate}")


@emitter.on("order.placed")
def ship(event):
    print(f"ship {event.data}")


@emitter.on("order.placed", priority=EventPriority.HIGH)
def check(event):
    if event.data == "dynamite":
        event.propagate = False


async def main():
    await emitter.emit("order.placed", "tea")
    await emitter.emit("order.placed", "dynamite")


asyncio.run(main())
