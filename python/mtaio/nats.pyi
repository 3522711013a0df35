import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal, SupportsFloat, TypeVar, overload

from typing_extensions import Self

from mtaio._values import Codec as Codec, Request as Request, State as State, Stats as Stats, Stream as Stream
from mtaio.events import Channel, EventEmitter, TopicChannel

__all__ = ['Binding', 'Codec', 'Connection', 'Request', 'State', 'Stats', 'Stream', 'connect']

_Handler = TypeVar('_Handler', bound=Callable[[Request], Any])
_Patterns = str | Iterable[str]
_Path = str | os.PathLike[str]
_Overflow = Literal['block', 'drop_oldest', 'drop_newest', 'error']
_CodecName = Literal['bytes', 'str', 'json']

async def connect(servers: _Patterns = 'nats://127.0.0.1:4222', *, events: EventEmitter | None = None,
                  name: str | None = None, user: str | None = None, password: str | None = None,
                  token: str | None = None, credentials: _Path | None = None, tls_ca: _Path | None = None,
                  tls_certificate: _Path | None = None, tls_key: _Path | None = None, timeout: SupportsFloat = 5.0,
                  retry: SupportsFloat = 0.25, resume: SupportsFloat | None = None,
                  send_asap: bool = False) -> Connection: ...

class Connection:
    @property
    def is_connected(self) -> bool: ...
    @property
    def is_closed(self) -> bool: ...
    async def bind(self, channel: Channel[Any] | TopicChannel[Any], prefix: str, *, send: _Patterns | None = None,
                   take: _Patterns | None = None, codec: _CodecName | Codec = 'bytes', buffer_size: int = 65536,
                   overflow: _Overflow = 'block', pack: bool = False, durable: Stream | None = None) -> Binding: ...
    async def close(self, timeout: SupportsFloat | None = 5.0) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exception: object) -> None: ...
    def __del__(self, warn: Callable[..., object] = ...) -> None: ...

class Binding:
    connection: Connection
    channel: Channel[Any]
    prefix: str
    @property
    def stats(self) -> Stats: ...
    async def flush(self, timeout: SupportsFloat | None = None) -> None: ...
    async def request(self, topic: str, data: Any = None, *, timeout: SupportsFloat | None = None) -> Any: ...
    @overload
    def serve(self, pattern: str, handler: None = None, *,
              group: str | None = None) -> Callable[[_Handler], _Handler]: ...
    @overload
    def serve(self, pattern: str, handler: Callable[[Request], Any], *,
              group: str | None = None) -> Coroutine[Any, Any, None]: ...
    async def close(self, timeout: SupportsFloat | None = 5.0) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exception: object) -> None: ...
