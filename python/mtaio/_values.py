"""What users of mtaio.nats see as plain values, with their types, and times as the library has them."""
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, SupportsFloat

from mtaio.events import EventEmitter


def nanoseconds(seconds: SupportsFloat | None, name: str, none: int) -> int:
    """Nanoseconds, as many as the library counts at most; `none` for None."""
    if seconds is None:
        return none
    number = float(seconds)
    if math.isnan(number) or number < 0:
        raise ValueError(f'{name} must not be negative or NaN')
    return min(math.ceil(number * 1e9), 2**62) if number < 2**33 else 2**62


def _start_of(start: str | int | datetime) -> tuple[int, int, int]:
    """The library's number, a time, a number of the stream."""
    if isinstance(start, datetime):
        return 3, int(start.timestamp() * 1_000_000) * 1000, 0
    if isinstance(start, int):
        return 4, 0, _positive(start, 'start')
    if start not in ('new', 'all', 'last'):
        raise ValueError(f"start must be 'new', 'all', 'last', a number or a datetime, not {start!r}")
    return ('new', 'all', 'last').index(start), 0, 0


def _positive(number: int, name: str) -> int:
    if number < 1:
        raise ValueError(f'{name} must be positive')
    return number


class Codec(Protocol):
    """How data become bytes, and bytes data. What cannot be encoded or decoded raises any exception."""

    def encode(self, data: Any, /) -> bytes:
        ...

    def decode(self, data: bytes, /) -> Any:
        ...


@dataclass(frozen=True)
class State:
    """The data of the events that tell how a connection fares.

    Attributes:
        server: The server's URL, "" while there is none
        prefix: Of the binding that it is about, or ""
        text: What the client library said, or why something was refused
        count: How many messages were lost, dropped or refused by this event
        missed: How many events before this one were not told, because they came faster than the loop looked
    """
    server: str = ''
    prefix: str = ''
    text: str = ''
    count: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Stats:
    """What a binding has counted.

    Attributes:
        sent: Given to the server
        unsent: Waiting to be sent
        dropped: By the policy of the buffer, or with the end of the binding
        taken: Published on the channel
        lost: Known to be missing
        refused: Neither sent nor taken, because they are no valid messages, or could not be encoded or decoded
        acknowledged, unacknowledged: Durable: sent, and stored by the server, or not known to be
        open: Durable: taken, and not acknowledged yet
        redelivered: Durable: taken with the mark that it may have been here before
        dead: Durable: given up after so many deliveries
    """
    sent: int
    unsent: int
    dropped: int
    taken: int
    lost: int
    refused: int
    acknowledged: int = 0
    unacknowledged: int = 0
    open: int = 0
    redelivered: int = 0
    dead: int = 0


@dataclass(frozen=True)
class Request:
    """What somebody asks: the handler of the topic returns the answer."""
    topic: str
    data: Any


@dataclass(frozen=True)
class Stream:
    """What makes a binding durable: a stream of JetStream keeps what is sent. Times are in seconds.

    Attributes:
        name: Of the stream; None: the prefix, with "_" for each "."
        max_messages, max_bytes, max_age, refuse_when_full, in_memory, replicas, duplicates: Of a stream that is made
            because it is not there yet: its limits, 0 is none; whether it then refuses what comes instead of forgetting
            the oldest; whether it goes with the server; on how many servers it is; how long it knows a message again, 0
            is the server's two minutes
        window: How many messages may be sent and not acknowledged
        consumer: A name, to go on where it was, in whatever process; None: one that ends with the binding
        start: Where a consumer begins that is not there yet: "new", "all", "last" (of each topic), a number of the
            stream, or a datetime
        max_open: How many messages may be taken and not acknowledged
        ack_wait: Who is silent for so long is gone, and another is given what he has
        emitter: An EventEmitter. Messages are not published on the channel, but emitted there under their topics, each
            in a task of its own, and acknowledged when the emission is over. Where it fails they come again. None: they
            are published on the channel, and acknowledged then
        again: From a failed emission to the next try
        max_deliveries: Then a message is dead: told by the event "nats.dead", and not tried again; 0: no limit
        dead_topic: Where dead messages are published; None: nowhere

    A message that may have been given out before has "mtaio-delivery" in its metadata: how many times.
    """
    name: str | None = None
    max_messages: int = 0
    max_bytes: int = 0
    max_age: float = 0
    refuse_when_full: bool = False
    in_memory: bool = False
    replicas: int = 1
    duplicates: float = 0
    window: int = 1024
    consumer: str | None = None
    start: Literal['new', 'all', 'last'] | int | datetime = 'new'
    max_open: int = 1024
    ack_wait: float = 30
    emitter: EventEmitter | None = None
    again: float = 1
    max_deliveries: int = 0
    dead_topic: str | None = None

    def _as_tuple(self) -> tuple[Any, ...]:
        """What the extension module is given."""
        ns, (start, since, sequence) = nanoseconds, _start_of(self.start)
        return (self.name, self.max_messages, self.max_bytes, ns(self.max_age, 'max_age', 0), self.refuse_when_full,
                self.in_memory, self.replicas, ns(self.duplicates, 'duplicates', 0), _positive(self.window, 'window'),
                self.consumer, start, since, sequence, _positive(self.max_open, 'max_open'),
                ns(self.ack_wait, 'ack_wait', 0), ns(self.again, 'again', 0), self.max_deliveries, self.dead_topic,
                self.emitter is not None)
