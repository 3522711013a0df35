# Filter events early
filtered = emitter.filter(lambda e: e.data.get("important"))

@filtered.on("event")
async def handle_important_events(event):
    pass
