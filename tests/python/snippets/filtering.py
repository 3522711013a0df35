from mtaio.events import EventEmitter

emitter = EventEmitter()

# Create filtered emitter
filtered = emitter.filter(
    lambda event: event.data.get("priority") == "high"
)

@filtered.on("alert")
async def handle_high_priority_alert(event):
    alert = event.data
    print(f"High priority alert: {alert['message']}")
