@emitter.on("error")
async def handle_error(event):
    error = event.data
    print(f"Error occurred: {error}")

# Emit error event
try:
    await process_data()
except Exception as e:
    await emitter.emit("error", e)
