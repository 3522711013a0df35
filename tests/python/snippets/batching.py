async with emitter.batch_operations():
    for item in items:
        await emitter.emit("item.processed", item)
