"""Waiting for an event, and iterating over events."""
import asyncio

from mtaio.events import EventEmitter

emitter = EventEmitter()


async def watch():
    async for event in emitter.events("job.*"):
        print(f"{event.name} {event.data}")
        if event.name == "job.done":
            break


async def main():
    watching = asyncio.create_task(watch())
    waiting = asyncio.create_task(emitter.wait_for("job.step", timeout=5, check=lambda event: event.data == 2))
    await asyncio.sleep(0)   # let them begin
    for step in range(3):
        await emitter.emit("job.step", step)
    await emitter.emit("job.done", None)
    await watching
    print(f"waited for {(await waiting).data}")
    try:
        await emitter.wait_for("never", timeout=0.01)
    except asyncio.TimeoutError:
        print("no such event")


asyncio.run(main())
