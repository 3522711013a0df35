"""A publisher has a default topic and gathers messages; a topic channel has nothing without one."""
import asyncio

from mtaio.events import Channel, Publisher, TopicChannel


async def main():
    channel = Channel[str]("news")
    subscriber = await channel.subscribe()
    publisher = Publisher(channel, default_topic="local")
    async with publisher.batch() as batch:
        await batch.publish("rain")
        await batch.publish("elections", topic="national")
    for message in await subscriber.receive_many():
        print(f"{message.topic}: {message.data}")

    topics = TopicChannel[str]("topics")
    sports = await topics.subscribe("sports.*")
    await topics.publish("sports.chess", "e4")
    print(topics.topics, (await sports.receive()).data)


asyncio.run(main())
