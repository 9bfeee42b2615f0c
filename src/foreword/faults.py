"""Errors that nobody meant, and what may be told of them: kinds and places. Their messages may hold words of a prompt."""

import traceback
from collections.abc import Callable
from typing import TypeVar

from foreword.errors import ServiceError

T = TypeVar("T")
NO_FAULTS = (KeyboardInterrupt, SystemExit)
"""What somebody wants to happen, and which goes on to whoever runs the program."""
FRAMES = 12
"""Places of a fault that are told: the innermost ones."""


def kind_of(error: BaseException) -> str:
    """What may be told to anyone: an error's kind, and what we say of ourselves; never what was said of an input."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, ServiceError) else kind


def fault_lines(error: BaseException) -> str:
    """What goes into a log: the kinds of an error and its causes and their places in the code, no value of any."""
    lines: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        lines.append(("caused by " if lines else "") + kind_of(at))
        frames = traceback.extract_tb(at.__traceback__)[-FRAMES:]
        lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        at = at.__cause__ or at.__context__
    return "\n".join(lines)


def run_carriable(function: Callable[[], T], what: str) -> T:
    """What a function returns; raises what it raises, but in a form that an event loop can carry.

    asyncio loses a StopIteration, and what is no Exception (a panic of native code) passes all handlers: they become a
    ServiceError about ``what``.
    """
    try:
        return function()
    except NO_FAULTS:
        raise
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
            raise
        kind = type(error).__name__
        raise ServiceError(f"{what} failed: {kind}. It is a fault of this program; its log says where.") from error
