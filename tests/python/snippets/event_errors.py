from mtaio.exceptions import (
    EventError,
    EventEmitError,
    EventHandlerError
)

async def handle_errors():
    try:
        await emitter.emit("event", data)
    except EventEmitError:
        # Handle emission error
        pass
    except EventHandlerError:
        # Handle handler error
        pass
