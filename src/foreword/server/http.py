"""What endpoints ask of a request: who asks, what is behind the app, and work on its body that holds nobody up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from fastapi import Request

from foreword.cache import ConversationState
from foreword.errors import ParameterError
from foreword.server.body import TopBody
from foreword.server.body_shape import AT_ONCE
from foreword.server.parts import ServerParts
from foreword.serving.service import Service

T = TypeVar("T")
CONVERSATION_HEADER = "x-cache-conversation"
"""Header that says the same as the field ``cache_conversation``."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the tenant of the API key, and an id for this request (32 hexadecimal digits).

    ``conversation``: what the header says of it; None: nothing.
    """

    tenant: str
    request_id: str
    conversation: ConversationState | None = None


def caller(request: Request) -> Caller:
    """Who sent a request, as the gate found out, and what its header says of the conversation.

    ParameterError for a header that says neither word, or is there more than once and says both.
    """
    found: Caller = request.scope["foreword.caller"]
    said = [value.strip() for value in request.headers.getlist(CONVERSATION_HEADER)]
    for word in said:
        if word not in list(ConversationState):
            raise ParameterError(f"{CONVERSATION_HEADER} is {word!r}; it must be {' or '.join(ConversationState)}.")
    return replace(found, conversation=conversation_said(found, *said))


def conversation_said(who: Caller, *said: str | None) -> ConversationState | None:
    """Whether a conversation goes on: what its header and its fields say; ParameterError if they say two things."""
    words = dict.fromkeys(each for each in (who.conversation, *said) if each is not None)
    if len(words) > 1:
        raise ParameterError(
            f"cache_conversation: the header {CONVERSATION_HEADER}, the field and the options of the request say "
            f"{' and '.join(words)}; say one of them."
        )
    return ConversationState(next(iter(words))) if words else None


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
