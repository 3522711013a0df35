"""Event-driven programs: emitters, handlers, channels, on asyncio and across threads.

    from mtaio.events import EventEmitter

Everything is in :mod:`mtaio.events` and :mod:`mtaio.exceptions`."""
from mtaio._core import version as __version__

__all__ = ['__version__']
