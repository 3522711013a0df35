from mtaio.events import EventEmitter

emitter = EventEmitter()

async def batch_operations():
    async with emitter.batch_operations():
        # Events are batched
        await emitter.emit("event1", data1)
        await emitter.emit("event2", data2)
        # Handlers are called once with all events
