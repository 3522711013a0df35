from mtaio.events import Channel

async def topic_example():
    channel = Channel[str]("events")

    # Subscribe to specific topics
    subscriber = await channel.subscribe(["user.*", "system.*"])

    # Publish to topic
    await channel.publish(
        "User logged in",
        topic="user.login"
    )
