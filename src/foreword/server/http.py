"""What endpoints ask of a request: who asks, what is behind the app, and work on its body that holds nobody up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from foreword.server.body import TopBody
from foreword.server.body_shape import AT_ONCE
from foreword.server.parts import ServerParts
from foreword.serving.service import Service

T = TypeVar("T")


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


def note_passed_over(request: Request, body: TopBody) -> None:
    """Tell of what a body has that is not used."""
    if body.passed_over:
        parts(request).passed_over.note(request.url.path, sorted(body.passed_over))


async def read_aside(request: Request, function: Callable[[], T]) -> T:
    """Make something of a body: in another thread where the body is long, so that the event loop goes on."""
    if int(request.headers.get("content-length") or AT_ONCE + 1) <= AT_ONCE:
        return function()
    return await parts(request).reading.run(function)
