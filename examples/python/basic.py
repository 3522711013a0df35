"""Handlers listen to a name; emitting awaits them, one after another."""
import asyncio

from mtaio.events import EventEmitter

emitter = EventEmitter()


@emitter.on("user_login")
async def handle_login(event):
    print(f"User {event.data['name']} logged in")


@emitter.on("user_login")
def count(event):   # a plain function will do
    print(f"metadata: {event.metadata}")


async def main():
    await emitter.emit("user_login", {"name": "John", "id": "123"}, metadata={"from": "example"})


asyncio.run(main())
