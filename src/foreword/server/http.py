"""What the dialects share of HTTP: who asks, errors as statuses, event streams, and clients that go away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from foreword.errors import (
    CredentialsError,
    ForbiddenError,
    ForewordError,
    InputError,
    NotFoundError,
    Overloaded,
    TimedOut,
    TooLargeError,
    Unavailable,
)
from foreword.faults import run_carriable
from foreword.server.body_shape import AT_ONCE
from foreword.server.parts import ServerParts
from foreword.serving.service import Service

T = TypeVar("T")
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (CredentialsError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (TooLargeError, 413),
    (InputError, 400),
    (Overloaded, 429),
    (Unavailable, 503),
    (TimedOut, 504),
)


@dataclass(frozen=True)
class Dialect:
    """A vendor's API.

    error_body
        (status, message, request id) → the body of an error, in the vendor's shape.
    describe_fault
        One fault that pydantic found in a body → a sentence.
    """

    prefixes: tuple[str, ...]
    router: APIRouter
    error_body: Callable[[int, str, str | None], dict[str, Any]]
    describe_fault: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the tenant of the API key, and an id for this request (32 hexadecimal digits)."""

    tenant: str
    request_id: str


def caller(request: Request) -> Caller:
    """Who sent a request, as the gate found out."""
    found: Caller = request.scope["foreword.caller"]
    return found


def service(request: Request) -> Service:
    """The service behind the app."""
    return parts(request).service


def parts(request: Request) -> ServerParts:
    """The parts of the server behind the app."""
    found: ServerParts = request.app.state.parts
    return found


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def message_of(error: Exception) -> str:
    """What a client may read of an error: all of those raised on purpose, nothing of others."""
    if not isinstance(error, ForewordError):
        return "The server failed to answer; its operator finds why in the log."
    return str(error).encode("utf-8", "backslashreplace").decode()  # it may name what the client sent


def error_response(dialect: Dialect, error: Exception, request_id: str | None, status: int | None = None) -> Response:
    """An error as an answer in a dialect; an overload says when to come back."""
    status = status or status_of(error)
    headers = {"retry-after": str(max(1, round(error.retry_after)))} if isinstance(error, Overloaded) else {}
    return JSONResponse(dialect.error_body(status, message_of(error), request_id), status, headers)


async def read_aside(request: Request, function: Callable[[], T]) -> T:
    """Make something of a body: in another thread where the body is long, so that the event loop goes on."""
    if int(request.headers.get("content-length") or AT_ONCE + 1) <= AT_ONCE:
        return function()
    return await asyncio.to_thread(run_carriable, function, "Reading the body")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client; cancelled as soon as the client goes away (CancelledError)."""
    return await _unless_gone(request.receive, work)


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    watching = asyncio.ensure_future(_disconnect(receive))
    watching.add_done_callback(lambda watched: None if watched.cancelled() else task.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if watching.done() and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watching.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class ClientGone(Exception):
    """The client went away: there is nobody to answer."""


LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What JSON may hold as it is, and some readers of lines take for a line's end: it is written as an escape."""


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(LINE_ENDS)
    return f"{head}data: {body}\n\n".encode("utf-8", "replace")


class EventStream(Response):
    """Server-sent events to one client.

    ``close`` is called once, at the end, however it comes: the last event, a client that has gone, or one that leaves a
    piece unread for longer than ``send_timeout`` seconds.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], None], send_timeout: float):
        self._events, self._close, self._send_timeout = events, close, send_timeout
        self.status_code, self.background = 200, None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        try:
            with contextlib.suppress(ClientGone):
                await _unless_gone(receive, self._send_all(send))
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._events:
            await self._send(send, {"type": "http.response.body", "body": piece, "more_body": True})
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._send_timeout):
                await send(message)
        except TimeoutError:
            raise ClientGone from None
