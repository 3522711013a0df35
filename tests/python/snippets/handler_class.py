class UserEventHandlers:
    def __init__(self, emitter: EventEmitter):
        self.emitter = emitter
        self.setup_handlers()

    def setup_handlers(self):
        @self.emitter.on("user.created")
        async def handle_user_created(event):
            pass

        @self.emitter.on("user.updated")
        async def handle_user_updated(event):
            pass

# Usage
handlers = UserEventHandlers(emitter)
