"""Errors in the shape of Anthropic's API."""

from typing import Any

from foreword.config import unknown_option
from foreword.errors import InputError, Overloaded, PromptTooLong, ShareUsed
from foreword.server.anthropic.schema import CountTokensBody, MessagesBody
from foreword.server.error_answers import message_of, status_of

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


TAGS = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking")
"""Names of block types that pydantic puts between a block's number and its field."""
BODIES: dict[str, type[CountTokensBody]] = {"/v1/messages": MessagesBody, "/v1/messages/count_tokens": CountTokensBody}
"""What each endpoint takes."""


OVERLOADED = 529
"""The vendor's own status of a server that is full, by which its clients decide to wait, or to ask for another model."""


class ThreadRefused(InputError):
    """The server was asked to hold a conversation. The vendor's SDK reads the details, and sends the messages itself."""

    def __init__(self) -> None:
        super().__init__("thread: no conversation is held here. Leave it out, and send all messages with each request.")
        self.details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def status_here(error: Exception) -> int:
    """The status of an error in this API: of a full server another one than of a key that has its share."""
    full = isinstance(error, Overloaded) and not isinstance(error, ShareUsed)
    return OVERLOADED if full else status_of(error)


def error_type(status: int) -> str:
    """The vendor's name for the kind of an error. A server that is shutting down (503) is told as one that is full."""
    if status == 503:
        return TYPES[OVERLOADED]
    return TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def error_body(error: Exception, status: int, request_id: str | None) -> dict[str, Any]:
    """The body of an answer with this status; also the data of an ``error`` event in a stream.

    Of a prompt that is too long clients know by the vendor's words for it.
    """
    if isinstance(error, PromptTooLong):
        message = f"prompt is too long: {error.tokens} tokens > {error.most} maximum"
    else:
        message = message_of(error)
    told: dict[str, Any] = {"type": error_type(status), "message": message}
    if isinstance(error, ThreadRefused):
        told["details"] = error.details
    return {"type": "error", "error": told, "request_id": request_id}


def describe_fault(path: str, fault: Any) -> str:
    """One fault that pydantic found in a body, in words that name the place, the value and the way out."""
    place = [part for at, part in enumerate(fault["loc"]) if at or part != "body"]
    kind, value = fault["type"], fault.get("input")
    where = ".".join(str(part) for part in _without_tags(place)) or "body"
    name = str(place[-1]) if place else ""
    if kind == "json_invalid":
        return f"The body is not valid JSON: {fault.get('ctx', {}).get('error', fault['msg'])}."
    if not place:
        return "The body must be a JSON object, sent with 'content-type: application/json'."
    if kind == "extra_forbidden":
        return _describe_extra(BODIES[path], where, place)
    if kind == "union_tag_invalid" or (kind == "literal_error" and name == "type"):
        wanted = fault["ctx"].get("expected_tags") or fault["ctx"]["expected"]
        given = fault["ctx"].get("tag", value)
        return f"{where}: type {given!r} is not served here; allowed: {wanted}."
    if kind == "missing":
        return f"{where}: required, and not there."
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}{_shown(value)}."


def _describe_extra(body: type[CountTokensBody], where: str, place: list[int | str]) -> str:
    """A field that is not in the schema."""
    if len(place) > 1:
        return f"{where}: unknown field; leave it out."
    name = str(place[0])
    if (why := body.table.refused.get(name)) is not None:
        return f"{where}: {name!r} is not served here: {why}. Leave it out."
    return unknown_option(name, list(body.model_fields), "field")


def _shown(value: Any) -> str:
    """A small value, to be named; nothing of a large one."""
    small = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < 40)
    return f" (got {value!r})" if small else ""


def _without_tags(place: list[int | str]) -> list[int | str]:
    """A place in the body without the names of block types that pydantic puts between a block's index and its field."""
    inner = range(1, len(place) - 1)
    tags = [at for at in inner if place[at] in TAGS and isinstance(place[at - 1], int)]
    return [part for at, part in enumerate(place) if at not in tags]
