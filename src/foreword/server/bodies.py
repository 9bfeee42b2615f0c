"""Bodies on their way in: read whole, bounded each and together, so that nobody behind has to bound them."""

import asyncio
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from foreword.errors import ForewordError, Overloaded, TimedOut, TooLargeError
from foreword.server.body_shape import check_shape
from foreword.server.error_answers import status_of
from foreword.server.gone import ClientGone
from foreword.serving.config import ServerConfig


class BodyRefused(Exception):
    """A body that is not taken: the error, and its HTTP status."""

    def __init__(self, error: ForewordError, status: int | None = None):
        self.error = error
        self.status = status or status_of(error)


@dataclass(eq=False, slots=True)
class _Coming:
    """A body of which a part has come. ``clock`` runs out when it takes too long, or when it has to make room."""

    clock: asyncio.Timeout
    pieces: bytearray = field(default_factory=bytearray)
    makes_room: bool = False


class Bodies:
    """The bodies that a server is just receiving. Lives in the event loop.

    Together they have at most ``max_receiving_bytes``; beyond that the one that has been coming longest is given up.
    """

    def __init__(self, config: ServerConfig):
        self._most_each = config.max_body_bytes
        self._most_together = config.max_receiving_bytes or 16 * config.max_body_bytes
        self._seconds = config.body_timeout
        self._coming: dict[_Coming, None] = {}  # the oldest first
        self._bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> Receive:
        """A ``receive`` that gives the whole body at once, and then what comes.

        BodyRefused for one that is too large, takes too long or has to make room, InputError for one that is too much to
        read; ClientGone where the rest never comes.
        """
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self._most_each:
            raise BodyRefused(self._too_large(announced))
        clock = asyncio.timeout(self._seconds)
        coming = _Coming(clock)
        self._coming[coming] = None
        try:
            async with clock:
                await self._read(coming, receive)
        except TimeoutError:
            if coming.makes_room:
                full = "Too many bodies are coming in at once, and this one has taken longest. Try again in a moment."
                raise BodyRefused(Overloaded(full)) from None
            raise BodyRefused(TimedOut(f"The body did not arrive within {self._seconds:g} s."), 408) from None
        finally:
            del self._coming[coming]
            self._bytes -= len(coming.pieces)
        body = bytes(coming.pieces)
        await check_shape(body)
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        return replay

    async def _read(self, coming: _Coming, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            coming.pieces += piece
            self._bytes += len(piece)
            if len(coming.pieces) > self._most_each:
                raise BodyRefused(self._too_large(f"more than {self._most_each}"))
            more = message.get("more_body", False)
            if more:
                self._make_room()

    def _make_room(self) -> None:
        """Give up those that have been coming longest, until the others have room."""
        excess = self._bytes - self._most_together
        for oldest in self._coming:
            if excess <= 0:
                return
            excess -= len(oldest.pieces)
            if not oldest.makes_room:
                oldest.makes_room = True
                oldest.clock.reschedule(asyncio.get_running_loop().time())

    def _too_large(self, size: str) -> TooLargeError:
        return TooLargeError(f"The body has {size} bytes; this server takes {self._most_each}. Send less at a time.")
