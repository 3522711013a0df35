@emitter.on("critical", priority=EventPriority.HIGHEST)
async def handle_critical(event):
    # Handle critical events first
    pass
