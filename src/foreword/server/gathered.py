"""A connection's way out, on which pieces that belong together travel together."""

import asyncio
from collections.abc import Callable
from typing import Any

MOST = 2**16
"""Bytes that are gathered; beyond that they are sent at once."""


class GatheredTransport(asyncio.Transport):
    """A transport that sends in one piece what is written within one turn of the event loop.

    Each piece costs a call of the system here, and wakes the client there. ``call_soon`` is the event loop's.
    """

    def __init__(self, transport: asyncio.Transport, call_soon: Callable[[Callable[[], None]], Any]):
        super().__init__()
        self._transport = transport
        self._call_soon = call_soon
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._sent = 0

    @property
    def taken(self) -> int:
        """Bytes that the system has taken so far: the client reads."""
        return self._sent - self._transport.get_write_buffer_size()

    def write(self, data: Any) -> None:
        """Send some bytes, with those that are written until the event loop does something else."""
        if not self._pieces:
            self._call_soon(self._flush)
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered > MOST:
            self._flush()

    def close(self) -> None:
        """Close when all is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what has not been sent is dropped."""
        self._pieces.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or will be."""
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that have been written and not taken by the system."""
        return self._gathered + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport below knows of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing from the client for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what comes from the client again."""
        self._transport.resume_reading()

    def _flush(self) -> None:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._sent += len(data)
            self._transport.write(data)
