from mtaio.events import Channel, Subscriber

async def channel_example():
    channel = Channel[str]("notifications")

    # Subscribe to channel
    subscriber = await channel.subscribe()

    # Publish message
    await channel.publish("Hello subscribers!")

    # Receive message
    message = await subscriber.receive()
