"""A handler bound to the event loop of another thread: the emission waits for it there."""
import asyncio
import threading

from mtaio.events import EventEmitter

emitter = EventEmitter()
worker_loop = asyncio.new_event_loop()
worker = threading.Thread(target=worker_loop.run_forever, name="worker")


@emitter.on("work", loop=worker_loop)
async def work(event):
    await asyncio.sleep(0)
    print(f"{threading.current_thread().name}: {event.data}")


@emitter.on("work")
def here(event):
    print(f"main thread: {threading.current_thread() is threading.main_thread()}")


worker.start()
asyncio.run(emitter.emit("work", "hard"))
worker_loop.call_soon_threadsafe(worker_loop.stop)
worker.join()
worker_loop.close()
