"""Handlers that are called once, and listeners that can be cancelled."""
import asyncio

from mtaio.events import EventEmitter

emitter = EventEmitter()


@emitter.once("tick")
def first(event):
    print(f"the first tick: {event.data}")


class Counter:
    ticks = 0

    def count(self, event):
        self.ticks += 1


async def main():
    counter = Counter()
    emitter.on("tick")(counter.count)
    with emitter.add_listener("tick", lambda event: print(f"inside: {event.data}")):
        await emitter.emit("tick", 1)
    await emitter.emit("tick", 2)
    print(f"removed: {emitter.remove_listener('tick', counter.count)}")   # an equal bound method is the same handler
    await emitter.emit("tick", 3)
    print(f"counted: {counter.ticks}")


asyncio.run(main())
