class EventMonitor:
    def __init__(self, emitter: EventEmitter):
        @emitter.on("*", priority=EventPriority.MONITOR)
        async def monitor_all(event):
            await self.log_event(event)

    async def log_event(self, event: Event):
        print(f"Event: {event.name}, Data: {event.data}")
