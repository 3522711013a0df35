"""Hooks see every emission; suppressed events reach nobody, and may be replayed."""
import asyncio

from mtaio.events import EventEmitter

emitter = EventEmitter()
emitter.add_hook("before_emit", lambda event: print(f"before {event.name}"))
emitter.add_hook("after_emit", lambda event: print(f"after {event.name}"))
emitter.on("*")(lambda event: print(f"{event.name}: {event.data}"))


async def main():
    await emitter.emit("a", 1)
    async with emitter.suppress_events("a") as held:
        await emitter.emit("a", 2)
        await emitter.emit("b", 3)
    print(f"held back: {[event.data for event in held]}")
    await emitter.replay_events(held)


asyncio.run(main())
