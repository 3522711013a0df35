"""Derived emitters: some events only, or events made from others."""
import asyncio

from mtaio.events import Event, EventEmitter

readings = EventEmitter()
hot = readings.filter(lambda event: event.data > 30, "temperature")
fahrenheit = hot.map(lambda event: Event(event.name, event.data * 9 / 5 + 32))


@hot.on("*")
async def warn(event):
    print(f"it is hot: {event.data} °C")


@fahrenheit.on("*")
async def translate(event):
    print(f"which is {event.data:.0f} °F")


async def main():
    for degrees in 21, 35:
        await readings.emit("temperature", degrees)


asyncio.run(main())
