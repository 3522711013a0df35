from mtaio.events import EventEmitter, Event

# Create transformed emitter
transformed = emitter.map(
    lambda event: Event(
        name=event.name,
        data={**event.data, "processed": True}
    )
)

@transformed.on("data_event")
async def handle_processed_data(event):
    # Handle transformed event
    pass
