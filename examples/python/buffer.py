"""Events gathered and passed on n at a time; the rest when it is time."""
import asyncio

from mtaio.events import EventEmitter


async def main():
    emitter = EventEmitter()
    buffered = emitter.buffer(3, "measured")

    @buffered.on("measured")
    async def store(event):
        await asyncio.sleep(0)   # a database, say
        print("storing", *event.data)

    for value in "one", "two", "three", "four", "five":
        await emitter.emit("measured", value)
    print("the rest:")
    await buffered.flush()


asyncio.run(main())
