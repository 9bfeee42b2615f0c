"""Server-sent events to one client, with a sign of life where none comes for a while."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from foreword.serving.config import ServerConfig

LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What JSON may hold as it is, and some readers of lines take for a line's end: it is written as an escape."""
COMMENT = b": still at work\n\n"
"""A sign of life that no reader of events hands on."""


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(LINE_ENDS)
    return f"{head}data: {body}\n\n".encode("utf-8", "replace")


class EventStream(Response):
    """Server-sent events to one client.

    events
        The pieces that are sent, as they come; ``ping`` is sent whenever none came for the ``ping_seconds`` of the options.
    close
        Called once, at the end, however it comes: the last event, or a client that has gone.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[bytes], close: Callable[[], None], options: ServerConfig, ping: bytes = COMMENT
    ):
        self._events, self._close, self._ping = events, close, ping
        self._ping_seconds = options.ping_seconds
        self._sent_at = 0.0
        self.status_code, self.background = 200, None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        try:
            await self._send_all(send)
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        now = asyncio.get_running_loop().time
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pinging = asyncio.ensure_future(self._send_pings(send))
        try:
            async for piece in self._events:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self._sent_at = now()
        finally:
            pinging.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_pings(self, send: Send) -> None:
        now = asyncio.get_running_loop().time
        self._sent_at = now()
        while True:
            left = self._sent_at + self._ping_seconds - now()
            if left > 0:
                await asyncio.sleep(left)
            else:
                self._sent_at = now()
                await send({"type": "http.response.body", "body": self._ping, "more_body": True})
