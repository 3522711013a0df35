"""What happens when a subscriber is slow: its buffer and its policy say."""
import asyncio

from mtaio.events import Channel
from mtaio.exceptions import ChannelFullError


async def main():
    channel = Channel[int]("numbers")
    newest = await channel.subscribe(buffer_size=2, overflow="drop_oldest")
    for number in range(5):
        await channel.publish(number)
    message = await newest.receive()
    print(f"{message.data}, {message.missed} missed")
    await channel.unsubscribe(newest)

    strict = await channel.subscribe(buffer_size=1, overflow="error")
    await channel.publish(1)
    try:
        await channel.publish(2)
    except ChannelFullError as error:
        print(f"refused: {type(error).__name__}")
    print((await strict.receive()).data)


asyncio.run(main())
