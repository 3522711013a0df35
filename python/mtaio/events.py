"""Emitters, events and channels.

    from mtaio.events import EventEmitter

    emitter = EventEmitter()

    @emitter.on("user_login")
    async def handle_login(event):
        print(event.data)

    await emitter.emit("user_login", {"name": "John"})
"""
import asyncio
import dataclasses
import enum
import functools
import inspect
import warnings
from typing import Any, Callable, Dict, Generic, Optional, Protocol, TypeVar, runtime_checkable

from mtaio import _channels, _core, _emitting
from mtaio._channels import *   # noqa: F403
from mtaio._core import Event, Listener
from mtaio._emitting import BatchOperations, Suppression
from mtaio._handlers import ONCE, WRAPPED, EventStream, OnLoop, Weak
from mtaio.exceptions import EventEmitError, EventHandlerError

__all__ = ['ChangeType', 'Event', 'EventEmitter', 'EventListener', 'EventPriority', 'EventStream', 'Listener',
           *_channels.__all__]

T = TypeVar('T')
T_contra = TypeVar('T_contra', contravariant=True)


class EventPriority(enum.Enum):
    """When a handler runs: HIGHEST first. MONITOR comes last, sees every event, also one whose propagation was
    stopped, and changes nothing."""
    LOWEST = 1
    LOW = 2
    NORMAL = 3
    HIGH = 4
    HIGHEST = 5
    MONITOR = 6


class ChangeType(enum.Enum):
    """The kind of change that an event reports."""
    CREATE = 'create'
    UPDATE = 'update'
    DELETE = 'delete'
    RESET = 'reset'


@runtime_checkable
class EventListener(Protocol[T_contra]):
    """Whatever can handle events: a function or an async function of one event, or an object that is called so."""

    def __call__(self, event: T_contra, /) -> Any:
        ...


@dataclasses.dataclass
class _Event(Generic[T]):
    """What Event has of a dataclass is taken from this one."""
    name: str
    data: T
    propagate: bool = True
    metadata: Dict[str, Any] = dataclasses.field(default_factory=dict)


class _EventSignature:
    """Event's own, not its subclasses'."""

    def __init__(self, signature):
        self._signature = signature

    def __get__(self, instance, owner):
        if owner is not Event:
            raise AttributeError('__signature__')
        return self._signature


_core.set_event_class({
    '__dataclass_fields__': _Event.__dataclass_fields__, '__dataclass_params__': _Event.__dataclass_params__,
    '__match_args__': _Event.__match_args__, '__annotations__': _Event.__annotations__,
    '__signature__': _EventSignature(inspect.signature(_Event))})


def _check_priority(priority):
    if not isinstance(priority, EventPriority):
        raise TypeError(f'priority must be an EventPriority, not {type(priority).__name__}')


class EventEmitter(_core.Emitter):
    """Calls the handlers of events.

    Names are strings whose segments are separated by dots: "user_login", "user.created". Handlers listen to a name, or
    to a pattern, in which a whole segment may be "*" (exactly one) or "**" (any number); the pattern "*" alone matches
    every name. They may be plain functions, async functions, or anything that is called with an event and returns
    something that may be awaited.
    """

    _name = None
    _reported = frozenset()   # names that have passed the limit of listeners
    _suppressions = ()
    _hooks = ()

    @functools.cached_property
    def _timed(self):
        return set()   # tasks of emit_after and emit_periodic

    def __init__(self, *, name=None, max_listeners=0):
        """Initialize event emitter.

        Args:
            name: What the emitter is called in warnings
            max_listeners: More listeners to one name than this are warned of, once; 0 is no limit
        """
        super().__init__()
        if name is not None:
            if not isinstance(name, str):
                raise TypeError(f'name must be a str, not {type(name).__name__}')
            self._name = name
        self._set_limit(max_listeners)

    @property
    def name(self):
        """What the emitter is called in warnings, or None."""
        return self._name

    # --- Registering ---

    @_core.plainly_in_c
    def on(self, event_name: str, priority: EventPriority = EventPriority.NORMAL, handler: Optional[Callable] = None, *,
         weak: bool = False, loop: Optional[asyncio.AbstractEventLoop] = None) -> Callable:
        """Decorator to register an event handler.

        Args:
            event_name: Name of the event to handle
            priority: Handler priority level
            handler: The handler, where this is used as a call and not as a decorator; on(name, handler) will do
            weak: Hold the handler, or the object of a bound method, weakly: when it goes, so does the registration
            loop: The event loop to run the handler on, from whichever thread the event comes

        Returns:
            Decorated event handler
        """
        return self._register(event_name, priority, handler, weak, loop, 0)

    @_core.plainly_in_c
    def once(self, event_name: str, priority: EventPriority = EventPriority.NORMAL, handler: Optional[Callable] = None,
             *, weak: bool = False, loop: Optional[asyncio.AbstractEventLoop] = None) -> Callable:
        """Register one-time event handler. It is removed before it is called. Otherwise as `on`."""
        return self._register(event_name, priority, handler, weak, loop, ONCE)

    @_core.plainly_in_c
    def add_listener(self, event_name, handler, priority=EventPriority.NORMAL, *, once=False, weak=False, loop=None):
        """Register a handler. Returns the registration, which can be cancelled, or used in a with statement."""
        return self._add(event_name, handler, priority, weak, loop, ONCE if once else 0, True)

    def _register(self, event_name, priority, handler, weak, loop, flags):
        if not isinstance(priority, EventPriority) and callable(priority):   # on(name, handler, priority)
            priority, handler = EventPriority.NORMAL if handler is None else handler, priority
        if not isinstance(event_name, str):
            raise TypeError(f'a name must be a str, not {type(event_name).__name__}')
        _check_priority(priority)   # now: a decorator may never be applied
        register = functools.partial(self._decorate, event_name, priority, weak, loop, flags)
        return register if handler is None else register(handler)

    def _decorate(self, event_name, priority, weak, loop, flags, handler):
        self._add(event_name, handler, priority, weak, loop, flags, False)
        return handler

    def _add(self, event_name, handler, priority, weak, loop, flags, by_handle):
        _check_priority(priority)
        if not callable(handler):
            raise TypeError(f'a handler must be callable, not {type(handler).__name__}')
        function = weakly = Weak(handler) if weak else None
        if loop is not None:
            function = OnLoop(weakly or handler, loop)
        if function is None:
            listener = self._listen(event_name, handler, priority._value_, flags, by_handle)
        else:   # what is held weakly may go at any time, in any number
            listener = self._listen(event_name, function, priority._value_, flags | WRAPPED, by_handle or weak)
        if weakly is not None:
            weakly.listener = listener
        return listener

    def _passed_limit(self, event_name, count):
        if event_name not in self._reported:
            self._reported = {*self._reported, event_name}
            warnings.warn(f'{self.name or "an emitter"} has {count} listeners to {event_name!r}, more than it is meant '
                          f'to have', RuntimeWarning, stacklevel=2)

    def remove_listener(self, event_name, handler):
        """Remove every registration of a handler under this very name or pattern. Returns how many there were."""
        return self._remove(event_name, handler)

    off = remove_listener

    def remove_all_listeners(self, event_name=None):
        """Remove every handler of a name or pattern, or of the emitter. Returns how many there were."""
        return self._remove_all(event_name)

    # --- Looking ---

    def listeners(self, event_name=None):
        """The handlers registered under this very name or pattern, or all; by priority and order of registration."""
        return self._listeners(event_name)

    def listener_count(self, event_name=None):
        """How many handlers are registered under this very name or pattern, or in all."""
        return self._count(event_name)

    def event_names(self):
        """The names and patterns that have handlers."""
        return self._names()

    def __repr__(self):
        state = 'closed' if self.is_closed else f'{self._count(None)} listeners'
        return f'<{type(self).__name__}{f" {self.name!r}" if self.name else ""}: {state}>'

    # --- Emitting in other ways ---

    def emit_nowait(self, event_name, data, metadata=None):
        """Emit an event that nobody awaits.

        With a running loop, the handlers are called in a task of their own, which begins in the loop's next round and
        is returned. Without one, they are called here and now, and one that would have to wait fails with a
        RuntimeError. A failing handler is reported by an "error" event whose data is the exception, or where nothing
        handles that, to the loop's exception handler, or without a loop in the log.
        """
        if self.is_closed:
            raise EventEmitError(f'cannot emit {event_name!r}: closed')
        self._reach(event_name)   # what is no name is said here
        emission = _emitting.unawaited(self, self.emit(event_name, data, metadata))
        loop = asyncio._get_running_loop()
        if loop is not None:
            return _emitting.start(emission)
        _emitting.run_now(emission)
        return None

    def emit_after(self, delay, event_name, data, metadata=None):
        """Emit an event after a delay in seconds. Returns the task that does; cancelling it prevents the event."""
        delay = _emitting.seconds(delay)
        return _emitting.start(_emitting.emit_later(self, delay, event_name, data, metadata), self._timed)

    def emit_periodic(self, interval, event_name, data_provider, metadata_provider=None, max_count=None):
        """Emit an event again and again, until the task that is returned is cancelled, or the emitter is closed.
        Failures are reported as those of emit_nowait.

        Args:
            interval: Seconds between the end of an emission and the next
            event_name: Name of the event
            data_provider: The data of each event; or a function that is called for it, which may be async
            metadata_provider: The same for its metadata
            max_count: How many events at most
        """
        if _emitting.seconds(interval) <= 0:
            raise ValueError('interval must be positive')
        return _emitting.start(_emitting.emit_repeatedly(
            self, interval, event_name, data_provider, metadata_provider, max_count), self._timed)

    def batch_operations(self):
        """Group events: `async with emitter.batch_operations():`. What the block emits on this emitter, and what it
        awaits, is recorded; at the end each handler that matches some of it is called once, with one event for all:
        its `events` are those, its `data` is the list of their data."""
        return BatchOperations(self)

    # --- Waiting ---

    @_core.plainly_in_c
    def wait_for(self, event_name, timeout=None, check=None):
        """Wait for an event of a name or pattern. To be awaited: that gives the event.

        Args:
            event_name: What to wait for
            timeout: Seconds to wait at most
            check: Told of each event whether it is the one

        Raises:
            EventTimeoutError: the time has passed; it is an asyncio.TimeoutError
            EventError: the emitter was closed
        """
        return _core.wait_for(self, event_name, timeout, check)

    def events(self, event_name, priority=EventPriority.NORMAL):
        """The events of a name or pattern from now on: `async for event in emitter.events("user.*"):`."""
        return EventStream(self, event_name, priority._value_)

    # --- Derived emitters ---

    def _derive(self, derive, what, event_name):
        derived = EventEmitter.__new__(EventEmitter)
        derive(derived, self, what, event_name)
        return derived

    def filter(self, predicate, event_name=None):
        """An emitter that passes on the events for which predicate(event) is true.

        Args:
            predicate: A plain function of the event
            event_name: A name or pattern: no other events pass
        """
        return self._derive(_core.filter, predicate, event_name)

    def map(self, transform, event_name=None):
        """An emitter that passes on transform(event), a new Event, for each event. The handlers are chosen by the name
        of the event that came in.

        Args:
            transform: A plain function of the event, which returns one
            event_name: A name or pattern: no other events pass
        """
        return self._derive(_core.map, transform, event_name)

    def buffer(self, size, event_name=None):
        """An emitter that gathers events and passes them on so many at a time, as batches. See `flush`."""
        return self._derive(_core.buffer, size, event_name)

    def flush(self):
        """Pass on what a buffer has gathered, as one batch. To be awaited.

        Raises:
            EventError: this emitter is no buffer
            EventHandlerError, EventEmitError: as of emit
        """
        return _core.flush(self)

    def pipe(self, other, event_name=None):
        """Emit the events of a name or pattern, or all, on another emitter too. Returns what ends that by cancel."""
        return _core.pipe(self, other, '**' if event_name is None else event_name)

    # --- Holding back ---

    def suppress_events(self, event_name=None):
        """Hold back the events of a name or pattern, or all, from now on: they reach no handler, but a list.

            async with emitter.suppress_events("user.*") as held:
                ...

        The block's end ends it. Without a block it lasts until `replay_events()`."""
        return Suppression(self, '**' if event_name is None else event_name)

    async def replay_events(self, events=None):
        """Emit events that were held back, in order. Every one is emitted; then failures are raised.

        Args:
            events: What a suppression held; without, all suppressions end, and what they hold is emitted
        """
        if events is None:
            suppressions = list(self._suppressions)
            for suppression in suppressions:
                suppression.end()
            events = [event for suppression in suppressions for event in suppression.held]
        errors, last = [], None
        for event in events:
            name, data, metadata = (event.name, event.data, event.metadata) if isinstance(event, Event) else event
            try:
                await self.emit(name, data, metadata)
            except EventHandlerError as error:
                errors += error.errors
                last = error.event
        if errors:
            raise EventHandlerError.of(last, errors)

    # --- Hooks ---

    def add_hook(self, hook_type, callback):
        """Add a function that sees every emission.

        Args:
            hook_type: "before_emit" and "after_emit" are called with the event, "on_error", for each failure, with the
                event and the exception
            callback: A plain function. What it raises changes nothing, and goes to sys.unraisablehook
        """
        if hook_type not in ('before_emit', 'after_emit', 'on_error'):
            raise ValueError(f'Invalid hook type: {hook_type}')
        if not callable(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError('a hook must be a plain function')
        hooks = [*self._hooks, (hook_type, callback)]
        _core.set_hooks(self, hooks)
        self._hooks = hooks

    def remove_hook(self, hook_type, callback):
        """Remove a hook. Returns how many there were."""
        hooks = [hook for hook in self._hooks if hook != (hook_type, callback)]
        removed = len(self._hooks) - len(hooks)
        if removed:
            _core.set_hooks(self, hooks)
            self._hooks = hooks
        return removed

    # --- The end ---

    def close(self):
        """Remove every handler and hook, and end what is waited for. Emitting and registering raise from now on. An
        emission that is under way calls no further handler, and raises EventEmitError when the running one has ended.
        What this returns may be awaited; it is done already."""
        self._close()
        self._suppressions = ()
        for task in list(self._timed):
            _emitting.cancel(task)
        return _emitting.Done()

    shutdown = close

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        self.close()
