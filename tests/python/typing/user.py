"""What a user writes; mypy --strict finds nothing wrong with it, and knows the types that assert_type names."""
import asyncio
from dataclasses import replace
from typing import Any, TypedDict

from typing_extensions import assert_type

from mtaio.events import (Channel, ChangeType, Event, EventEmitter, EventListener, EventPriority, Listener, Message,
                          Publisher, Subscriber, TopicChannel)
from mtaio.exceptions import ChannelClosedError, EventEmitError, EventHandlerError, MTAIOError


class User(TypedDict):
    name: str


emitter = EventEmitter(name='users', max_listeners=100)


@emitter.on('user.login')
async def handle_login(event: Event[User]) -> None:
    print(event.data['name'].upper())


@emitter.on('user.*', priority=EventPriority.HIGH, weak=False)
def handle_any(event: Event[Any]) -> int:
    return len(event.events)


@emitter.once('user.logout')
def handle_logout(event: Event[User]) -> None:
    event.propagate = False


# Decorators keep the handler's type.
assert_type(handle_any(Event('a', 1)), int)
assert_type(emitter.on('a', handle_any)(Event('a', 1)), int)
assert_type(emitter.once('a', handler=handle_any)(Event('a', 1)), int)


class Handlers:
    def __init__(self, emitter: EventEmitter) -> None:
        self.listener = emitter.add_listener('user.login', self.handle, EventPriority.LOW, once=True)

    async def handle(self, event: Event[User]) -> None:
        assert_type(event.data, User)


class Counter:
    def __call__(self, event: Event[Any], /) -> None:
        pass


listener_like: EventListener[Event[Any]] = Counter()


async def events() -> None:
    assert_type(await emitter.emit('user.login', {'name': 'Ada'}, {'from': 'here'}), None)
    task = asyncio.create_task(emitter.emit('user.login', {}))
    await asyncio.gather(task, emitter.emit('a', 1))
    await asyncio.wait_for(emitter.emit('a', 1), 1)
    assert_type(emitter.remove_listener('user.login', handle_login), int)
    assert_type(emitter.listener_count(), int)
    assert_type(emitter.event_names(), list[str])
    event = await emitter.wait_for('user.*', timeout=5, check=lambda event: event.name == 'user.login')
    assert_type(event, Event[Any])
    async for event in emitter.events('user.*'):
        print(event.metadata.get('x'))
    with emitter.add_listener('a', handle_any) as listener:
        assert_type(listener, Listener)
    async with emitter.batch_operations():
        await emitter.emit('a', 1)
    async with emitter.suppress_events('a') as held:
        assert_type(held, list[Event[Any]])
    await emitter.replay_events(held)
    emitter.add_hook('before_emit', lambda event: print(event.name))
    emitter.add_hook('on_error', lambda event, error: print(event.name, error))
    filtered = emitter.filter(lambda event: bool(event.data), 'user.*').map(lambda event: Event(event.name, 1))
    assert_type(filtered, EventEmitter)
    filtered.on('*')(handle_any)
    emitter.pipe(filtered).cancel()
    emitter.emit_nowait('a', 1)
    emitter.emit_after(0.1, 'a', 1).cancel()
    emitter.emit_periodic(1, 'tick', lambda: 1, max_count=3)
    emitter.close()
    async with EventEmitter() as other:
        await other.shutdown()


def event_objects() -> None:
    event = Event('a', [1, 2])
    assert_type(event, Event[list[int]])
    assert_type(replace(event, name='b'), Event[list[int]])
    assert_type(event.metadata, dict[str, Any])
    explicit: Event[str] = Event[str](name='a', data='b', propagate=False, metadata={'m': ChangeType.CREATE.value})
    match explicit:
        case Event(name, data):
            assert_type(data, str)


async def channels() -> None:
    channel = Channel[str]('notifications', max_subscribers=10, overflow='drop_oldest')
    subscriber = await channel.subscribe(['user.*'], buffer_size=3)
    assert_type(subscriber, Subscriber[str])
    assert_type(await channel.publish('hello', topic='user.login', metadata={'m': 1}), int)
    message = await subscriber.receive(timeout=1.5)
    assert_type(message, Message[str])
    assert_type(message.data, str)
    assert_type(message.topic, str | None)
    async for each in subscriber:
        assert_type(each, Message[str])
    async with channel, subscriber as same:
        assert_type(same, Subscriber[str])
    assert_type(channel.stats.dropped, int)
    publisher = Publisher(channel, default_topic='a')
    async with publisher.batch() as batch:
        await batch.publish('x')
    topics = TopicChannel[int]()
    await topics.publish('a', 1)
    channel.close()
    await channel.close()


def threads(channel: Channel[int], subscriber: Subscriber[int]) -> int:
    channel.publish_blocking(1, timeout=2)
    return subscriber.receive_blocking().data


async def errors() -> None:
    try:
        await emitter.emit('a', 1)
    except EventEmitError as error:
        print(error.__cause__)
    except EventHandlerError as error:
        for handler, exception in error.errors:
            print(handler, exception)
    except (ChannelClosedError, MTAIOError):
        pass
