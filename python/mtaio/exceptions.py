"""Every exception that mtaio raises of its own."""
import asyncio
import pickle
import sys
from typing import Any, Callable, Iterable, List, Tuple

__all__ = ['MTAIOError', 'EventError', 'EventEmitError', 'EventHandlerError', 'EventTimeoutError', 'ChannelError',
           'ChannelClosedError', 'ChannelFullError', 'ChannelEmptyError', 'ChannelTimeoutError', 'NatsError',
           'NatsClosedError', 'NatsHandlerError', 'NatsNoRespondersError', 'NatsTimeoutError']


class MTAIOError(Exception):
    """What all of them derive from."""


class EventError(MTAIOError):
    """Something about an event or an emitter: a pattern that is none, a closed emitter, or one of the two below."""


class EventEmitError(EventError):
    """The emission could not be carried out: the name is none, the emitter is closed, emissions are nested too deep; or
    it was an "error" event that nothing handles. Then the exception that it carried is the cause."""


class EventHandlerError(EventError):
    """Handlers failed. All the others have run. The first exception is the cause.

    Attributes:
        errors: A (handler, exception) for each failure, in the order in which they happened; handler is None where
            it was no handler that failed
        event: The event
    """

    def __init__(self, message: str = '', errors: Iterable[Tuple[Any, Exception]] = (), event: Any = None) -> None:
        super().__init__(message)
        self.errors: List[Tuple[Any, Exception]] = list(errors)
        self.event = event

    @classmethod
    def of(cls, event: Any, errors: List[Tuple[Any, Exception]]) -> 'EventHandlerError':
        """The error of an event, whose failures there are."""
        handler, first = errors[0]
        what = 'a handler' if len(errors) == 1 else f'{len(errors)} handlers'
        which = '' if len(errors) == 1 else 'the first, '
        who = 'delivery' if handler is None else getattr(handler, '__qualname__', None) or _text(handler, repr)
        why = f'{type(first).__name__}: {_text(first, str)}'
        error = cls(f'{what} of {getattr(event, "name", None)!r} failed: {which}{who}: {why}', errors, event)
        error.__cause__ = first
        return error

    if sys.version_info >= (3, 11):
        @property
        def group(self) -> 'ExceptionGroup[Exception]':
            """The exceptions as a group: `raise error.group` to sort them out by `except*`."""
            return ExceptionGroup(str(self), [error for _, error in self.errors])

    def __reduce__(self) -> Any:
        errors = [(_portable(handler, _named), _portable(error, _described)) for handler, error in self.errors]
        cause = self.__cause__ and _portable(self.__cause__, _described)
        state = {**self.__dict__, 'errors': errors, 'event': _portable(self.event, _named), '__cause__': cause}
        return type(self), (str(self),), state


def _text(value: Any, show: Callable[[Any], str]) -> str:
    try:
        return show(value)
    except Exception as error:   # whatever is raised there
        return f'<{type(value).__name__}, whose text raises {type(error).__name__}>'


def _described(error: BaseException) -> RuntimeError:
    return RuntimeError(f'{type(error).__name__}: {_text(error, str)}')


def _named(value: Any) -> str:
    return _text(value, repr)


def _portable(value: Any, substitute: Any) -> Any:
    """The value, or where it cannot be pickled, as closures cannot, what stands for it."""
    try:
        pickle.dumps(value)
    except Exception:   # whatever its pickling raises
        return substitute(value)
    return value


class EventTimeoutError(EventError, asyncio.TimeoutError):
    """A time limit passed: the event that was waited for has not come."""


class ChannelError(MTAIOError):
    """Something about a channel."""


class ChannelClosedError(ChannelError):
    """The channel, or the subscription, is closed."""


class ChannelFullError(ChannelError):
    """A buffer is full, or there are as many subscribers as there may be."""


class ChannelEmptyError(ChannelError):
    """There is nothing to receive, and it was not to be waited for."""


class ChannelTimeoutError(ChannelError, asyncio.TimeoutError):
    """A time limit passed: nothing was received, or published."""


class NatsError(ChannelError):
    """Something about a connection to NATS servers, or a channel that is bound to it."""


class NatsClosedError(NatsError, ChannelClosedError):
    """The connection, or the binding, is closed."""


class NatsHandlerError(NatsError):
    """Who was asked has failed; this is what he says of it."""


class NatsNoRespondersError(NatsError):
    """Nobody answers requests of this topic."""


class NatsTimeoutError(NatsError, asyncio.TimeoutError):
    """A time limit passed: of connecting, of an answer; or of closing, and not everything was sent."""
