"""A logged request in neutral form: the prompt as a flat row of pieces, in the order in which the provider reads them.

That order is tools, output schema, system, messages: the same for all providers read here. Settings that a provider keeps
its cached messages apart by (thinking, the choice of a tool) stand between system and messages.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

TOOLS, SYSTEM, SETTINGS, MESSAGE = "tools", "system", "settings", "message"
MEDIA = frozenset({"image", "file", "audio"})
MOVED = "moved"
"""The kind of a piece that a fix has put at the end; it is no part of the conversation's history."""


class LoggedPiece(NamedTuple):
    """One tool, system block or message block.

    ``text`` is what the model reads (tools and calls as JSON, keys in the order sent); of an image or file, its digest.
    ``message`` and ``block`` count from 0; ``mark`` is the TTL in seconds of a cache mark that stands at its end.
    """

    section: str
    kind: str
    role: str
    message: int
    block: int
    text: str
    mark: float | None = None

    @property
    def label(self) -> str:
        """The exact place, for people: ``message 4 (user), block 1``."""
        if self.section == TOOLS:
            return "output schema" if self.kind == "schema" else f"tools, tool {self.block + 1}"
        if self.section == SETTINGS:
            return self.kind
        if self.section == SYSTEM:
            return f"system, block {self.block + 1}"
        return f"message {self.message + 1} ({self.role}), block {self.block + 1}"

    @property
    def place(self) -> str:
        """The place under which findings are counted together: positions deep in a conversation are one place a role."""
        if self.section == TOOLS:
            return "output schema" if self.kind == "schema" else "tools"
        if self.section in (SYSTEM, SETTINGS) or self.message == 0:
            return self.label
        return f"later messages ({self.role})"


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """What the provider reported, in tokens; ``prompt`` is the whole prompt, cached part included."""

    prompt: int
    cached: int
    written: int = 0


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request of the log.

    ``time`` is in seconds (None when the log has none), ``first_token`` the seconds from there until the first token
    (None when unknown), ``lifetime`` the TTL in seconds that the request asks of an automatic cache (None: the default).
    ``marked_only``: this provider caches nothing but what is marked. ``scope`` parts those who may not share. ``ignored``:
    beginnings of the codes of rules that this request is not told about. ``batch``: sent through a batch, at half the price.
    ``deployment``: which of several equal deployments answered, where a router says so. ``kind``: what the log is, in words.
    """

    line: int
    provider: str
    model: str
    pieces: tuple[LoggedPiece, ...]
    time: float | None = None
    first_token: float | None = None
    user: str | None = None
    scope: str = ""
    marked_only: bool = False
    lifetime: float | None = None
    usage: ReportedUsage | None = None
    ignored: tuple[str, ...] = ()
    shares_with: str = ""
    batch: bool = False
    deployment: str = ""
    kind: str = ""

    @property
    def cache_name(self) -> str:
        """Requests of one cache name can share prefixes. ``shares_with`` is set by the replay of a fix, to undo a switch."""
        return f"{self.provider}\n{self.shares_with or self.model}\n{self.scope}"

    def with_pieces(self, pieces: tuple[LoggedPiece, ...]) -> "LoggedRequest":
        """The same request with another prompt."""
        return replace(self, pieces=pieces)

    def messages_from(self) -> int:
        """Index of the first piece that belongs to a message."""
        return next((i for i, piece in enumerate(self.pieces) if piece.section == MESSAGE), len(self.pieces))

    def marks(self) -> Iterator[int]:
        """Indices of the marked pieces."""
        return (i for i, piece in enumerate(self.pieces) if piece.mark is not None)


def at_the_end(pieces: list[LoggedPiece], moved: list[LoggedPiece]) -> tuple[LoggedPiece, ...]:
    """The pieces with others put behind them, as text of the last message: where a value costs no prefix."""
    last = pieces[-1]
    tail = (last._replace(kind=MOVED, block=last.block + 1 + i, text=piece.text, mark=None) for i, piece in enumerate(moved))
    return (*pieces, *tail)
