from mtaio.events import EventEmitter

# Create emitter
emitter = EventEmitter()

# Define handler
@emitter.on("user_login")
async def handle_login(event):
    user = event.data
    print(f"User {user['name']} logged in")

# Emit event
await emitter.emit("user_login", {
    "name": "John",
    "id": "123"
})
