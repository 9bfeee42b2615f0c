"""Errors as answers: which status, which words a client may read, in which vendor's shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

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


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


@dataclass(frozen=True)
class Dialect:
    """A vendor's API.

    error_body
        (error, status, request id) → the body of its answer, in the vendor's shape.
    describe_fault
        (path, one fault that pydantic found in a body sent there) → a sentence.
    status_of
        The HTTP status of an error.
    """

    prefixes: tuple[str, ...]
    router: APIRouter
    error_body: Callable[[Exception, int, str | None], dict[str, Any]]
    describe_fault: Callable[[str, Any], str]
    status_of: Callable[[Exception], int] = status_of


def telling_fault(faults: Sequence[Any]) -> Any:
    """The one that is told of the faults that pydantic found in a body: that of a union's branch that fits best.

    It lies deepest, and of those that lie as deep it does not say that the value is of another kind altogether.
    """
    return max(faults, key=lambda fault: (len(fault["loc"]), not fault["type"].endswith("_type")))


def message_of(error: Exception) -> str:
    """What a client may read of an error: all of those raised on purpose, nothing of others."""
    if not isinstance(error, ForewordError):
        return "The server failed to answer; its operator finds why in the log."
    return str(error).encode("utf-8", "backslashreplace").decode()  # it may name what the client sent


def error_response(dialect: Dialect, error: Exception, request_id: str | None, status: int | None = None) -> Response:
    """An error as an answer in a dialect; what passes says when to come back."""
    status = status or dialect.status_of(error)
    wait = error.retry_after if isinstance(error, Overloaded | Unavailable) else None
    headers = {} if wait is None else {"retry-after": str(max(1, round(wait)))}
    return JSONResponse(dialect.error_body(error, status, request_id), status, headers)
