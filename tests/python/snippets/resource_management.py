class EventManager:
    def __init__(self):
        self.emitter = EventEmitter()
        self._handlers = []

    def register_handler(self, event: str, handler: Callable):
        self._handlers.append((event, handler))
        self.emitter.on(event)(handler)

    async def cleanup(self):
        for event, handler in self._handlers:
            self.emitter.remove_listener(event, handler)
