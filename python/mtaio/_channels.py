"""Channels: what is thin enough to be written in Python. See mtaio.events."""
import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Awaitable, Coroutine, Generic, Iterable, List, Mapping, Optional, TypeVar, Union
from weakref import WeakSet

from mtaio import _core
from mtaio._core import Channel, ChannelStats, Message, Subscriber, SubscriberStats
from mtaio.exceptions import ChannelError

__all__ = ['Channel', 'ChannelStats', 'Message', 'Publisher', 'PublisherBatch', 'Subscriber', 'SubscriberStats',
           'TopicChannel']

T = TypeVar('T')


@dataclass(frozen=True)
class _Message(Generic[T]):
    """What Message has of a dataclass is taken from this one."""
    data: T
    topic: Optional[str] = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    missed: int = 0


_core.set_message_class({name: getattr(_Message, name) for name in (
    '__dataclass_fields__', '__dataclass_params__', '__match_args__', '__annotations__')})


def _wanted(topic: str) -> str:
    if topic is None:
        raise TypeError('a topic is wanted')
    return topic


class TopicChannel(Generic[T]):
    """A channel whose messages all have a topic.

        channel = TopicChannel[str]()
        subscriber = await channel.subscribe(["news", "updates.*"])
        await channel.publish("news", "Breaking news!")

    Args: as those of Channel."""

    def __init__(self, name: str = '', **options: Any) -> None:
        self._channel: Channel[T] = Channel(name, **options)
        self._subscribers: 'WeakSet[Subscriber[T]]' = WeakSet()

    async def subscribe(self, topics: Union[str, Iterable[str]], **options: Any) -> Subscriber[T]:
        """Subscribe to topics or patterns of them; options as for Channel.subscribe."""
        return self.subscribe_nowait(topics, **options)

    def subscribe_nowait(self, topics: Union[str, Iterable[str]], **options: Any) -> Subscriber[T]:
        """subscribe() for any thread, with a loop or without."""
        wanted = (topics,) if isinstance(topics, str) else tuple(topics)
        if not wanted:
            raise ChannelError('a topic is wanted')
        subscriber = self._channel.subscribe_nowait(wanted, **options)
        self._subscribers.add(subscriber)
        return subscriber

    def publish(self, topic: str, data: T, metadata: Optional[Mapping[str, Any]] = None) -> Coroutine[Any, Any, int]:
        """Publish to a topic: the number of subscribers reached."""
        return self._channel.publish(data, _wanted(topic), metadata)

    def publish_nowait(self, topic: str, data: T, metadata: Optional[Mapping[str, Any]] = None) -> int:
        """Publish without waiting: ChannelFullError where it would have to wait."""
        return self._channel.publish_nowait(data, _wanted(topic), metadata)

    def unsubscribe(self, subscriber: Subscriber[T]) -> Awaitable[None]:
        """End a subscription."""
        return self._channel.unsubscribe(subscriber)

    def close(self) -> Awaitable[None]:
        """Close the channel, at once and in any thread; what is returned may be awaited."""
        return self._channel.close()

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._channel.name

    @property
    def topics(self) -> List[str]:
        """The topics and patterns that somebody subscribes to, sorted."""
        return sorted(set().union(*(subscriber.topics for subscriber in list(self._subscribers))))

    @property
    def subscriber_count(self) -> int:
        """How many subscribers there are now."""
        return self._channel.subscriber_count

    @property
    def is_closed(self) -> bool:
        """Whether the channel is closed."""
        return self._channel.is_closed

    @property
    def stats(self) -> ChannelStats:
        """What was counted."""
        return self._channel.stats

    async def __aenter__(self) -> 'TopicChannel[T]':
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<TopicChannel {self.name!r}, {self.subscriber_count} subscribers>'


class Publisher(Generic[T]):
    """Publishes to a channel, one by one or gathered.

        publisher = Publisher(channel, default_topic="news")
        await publisher.publish("Hello")
        async with publisher.batch() as batch:
            await batch.publish("one")
            await batch.publish("two")

    Args:
        channel: Channel to publish to
        default_topic: The topic of messages that are published without one; None: they have none
        batch_size: A batch is published when so many messages are gathered
        flush_interval: And at the latest so many seconds after the first of them; None: at the end"""

    def __init__(self, channel: Channel[T], *, default_topic: Optional[str] = None, batch_size: int = 100,
                 flush_interval: Optional[float] = 1.0) -> None:
        if batch_size < 1:
            raise ValueError('batch_size must be at least 1')
        self.channel = channel
        self.default_topic = default_topic
        self.batch_size = batch_size
        self.flush_interval = flush_interval

    def publish(self, data: T, topic: Optional[str] = None,
                metadata: Optional[Mapping[str, Any]] = None) -> Coroutine[Any, Any, int]:
        """Publish at once: as Channel.publish, with the default topic where none is given."""
        return self.channel.publish(data, self.default_topic if topic is None else topic, metadata)

    def batch(self) -> 'PublisherBatch[T]':
        """Gather messages: what is published on it within `async with` is published together, one wake-up for all."""
        return PublisherBatch(self)


class PublisherBatch(Generic[T]):
    """What Publisher.batch() returns, for one task. The messages that could not be published stay in it."""

    def __init__(self, publisher: Publisher[T]) -> None:
        self._publisher = publisher
        self._messages: List[Message[T]] = []
        self._flushing = asyncio.Lock()   # one at a time, or later messages might overtake
        self._timer: Optional[asyncio.TimerHandle] = None
        self._task: Optional['asyncio.Task[None]'] = None

    async def publish(self, data: T, topic: Optional[str] = None, metadata: Optional[Mapping[str, Any]] = None) -> None:
        """Gather a message; publishes all of them when there are enough."""
        publisher = self._publisher
        self._messages.append(Message(data, publisher.default_topic if topic is None else topic, metadata))
        if len(self._messages) >= publisher.batch_size:
            await self.flush()
        elif self._timer is None and publisher.flush_interval is not None:
            self._timer = asyncio.get_running_loop().call_later(publisher.flush_interval, self._flush_later)

    async def flush(self) -> int:
        """Publish what is gathered: how many messages."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        async with self._flushing:
            return await self._publisher.channel._publish_list(self._messages)

    def _flush_later(self) -> None:
        self._task = asyncio.ensure_future(self._flush_quietly())

    async def _flush_quietly(self) -> None:
        with suppress(ChannelError):   # what could not be published stays, and the next flush says why
            await self.flush()

    async def __aenter__(self) -> 'PublisherBatch[T]':
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.flush()
