"""A channel gives each message to every subscriber whose topics match."""
import asyncio

from mtaio.events import Channel


async def read(name, subscriber):
    async for message in subscriber:   # until the channel closes
        print(f"{name}: {message.topic}: {message.data}")


async def main():
    channel = Channel[str]("events")
    users = asyncio.create_task(read("users", await channel.subscribe(["user.*"])))
    everything = asyncio.create_task(read("everything", await channel.subscribe()))
    print("reached", await channel.publish("Ada logged in", topic="user.login"))
    print("reached", await channel.publish("going down", topic="system.halt"))
    await channel.close()   # they still receive what they were sent
    await asyncio.gather(users, everything)


asyncio.run(main())
