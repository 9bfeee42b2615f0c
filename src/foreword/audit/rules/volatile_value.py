"""FW101."""

import re
from collections import OrderedDict
from dataclasses import replace

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import MEDIA, MESSAGE, SETTINGS, LoggedPiece, LoggedRequest, at_the_end
from foreword.audit.rules.base import Fixer, Rule
from foreword.prompt.volatile import Volatile, VolatileKind, differing_value, find_shapes

WORD = re.compile(r"[^\W\d_]+")
CALL_ID = re.compile(r'\{"(?:id|call_id)":"[^"]*"|[\w-]+\n')
"""The id of a call at the head of its JSON, or of a result in its first line."""
WINDOW = 256
"""Characters on each side of a difference in which a value is looked for."""
VALUES_KEPT = 200_000


class VolatileValue(Rule):
    """A date, time, identifier or counter that changes from request to request stands in front of text that does not.

    ## Why it costs

    A cache serves the tokens before the first difference. All that follows a value that is new each time is computed again,
    and paid in full, however often it was sent before.

    ## Example

        You are a helpful assistant. Now: 2026-03-01 09:41:07.
        ... 4,000 tokens of rules that never change ...

    ## Fix

    Write such values at the end of the last message, or round them (the date instead of the second). Nothing that changes
    belongs into tools or system.
    """

    code = "FW101"
    name = "volatile-value"

    def __init__(self) -> None:
        self._kinds: dict[str, set[VolatileKind]] = {}  # by place
        self._shapes = _Shapes()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.new_piece.kind in MEDIA or parted.new_piece.section == SETTINGS or not _fixable(case):
            return None
        if _other_call(parted.old_piece, parted.new_piece):
            return None
        cut = max(0, parted.chars - WINDOW)
        window = slice(cut, parted.chars + WINDOW)
        values = differing_value(parted.old_piece.text[window], parted.new_piece.text[window])
        if values is None:
            return None
        self._kinds.setdefault(parted.new_piece.place, set()).add(values[0].kind)
        return replace(sight_break(case, parted), about=_about(parted.new_piece.text[window], values[1]))

    def forget(self, place: str) -> None:
        self._kinds.pop(place, None)

    def fixer(self) -> Fixer:
        return self._moved_out

    def _moved_out(self, request: LoggedRequest) -> LoggedRequest:
        kept: list[LoggedPiece] = []
        moved: list[LoggedPiece] = []
        for piece in request.pieces:
            kinds = self._kinds.get(piece.place)
            rest, values = _without(piece.text, self._shapes.of(piece.text), kinds) if kinds else (piece.text, "")
            kept.append(piece._replace(text=rest) if values else piece)
            if values:
                moved.append(piece._replace(text=values, mark=None))
        return request.with_pieces(at_the_end(kept, moved)) if moved else request


def _about(text: str, value: Volatile) -> str:
    """What a value is: its kind, and the two words before it."""
    words = WORD.findall(text[: value.start])[-2:]
    return " ".join((value.kind, *words)).lower()


def _fixable(case: Case) -> bool:
    """Tools, system, the first message; deep in a conversation only what the client itself has written anew."""
    parted = case.parted
    assert parted is not None
    piece = parted.new_piece
    if piece.section != MESSAGE or piece.message == 0:
        return True
    return case.before is not None and parted.index < case.request.messages_from() + case.before.at


def _other_call(old: LoggedPiece, new: LoggedPiece) -> bool:
    """Whether two calls, or their results, are not the same one: then their ids are no values that changed."""
    if old.kind != new.kind or new.kind not in ("tool_use", "tool_result") or new.role == "tool":
        return False
    one, two = (CALL_ID.match(piece.text) for piece in (old, new))
    return one is not None and two is not None and one[0] != two[0]


def _without(text: str, shapes: tuple[Volatile, ...], kinds: set[VolatileKind]) -> tuple[str, str]:
    """A text without its values of some kinds, and the values."""
    rest, values, at = [], [], 0
    for value in shapes:
        if value.kind in kinds:
            rest.append(text[at : value.start])
            values.append(text[value.start : value.end])
            at = value.end
    return "".join([*rest, text[at:]]), " ".join(values)


class _Shapes:
    """The shapes in texts, by the texts' hashes: every pass brings the same ones. Those used least lately go."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Volatile, ...]] = OrderedDict()
        self._size = 0  # texts and values

    def of(self, text: str) -> tuple[Volatile, ...]:
        key = hash(text)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        known = self._known[key] = tuple(find_shapes(text))
        self._size += 1 + len(known)
        while self._size > VALUES_KEPT:
            _, gone = self._known.popitem(last=False)
            self._size -= 1 + len(gone)
        return known
