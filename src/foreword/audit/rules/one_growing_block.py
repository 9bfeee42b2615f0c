"""FW306."""

from collections import OrderedDict
from itertools import pairwise

from foreword.audit.case import WORTH_CHARS, Case, Sighting, sight_break
from foreword.audit.request import MESSAGE, LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule

TEXTS_KEPT = 64


class OneGrowingBlock(Rule):
    """The conversation is one block that grows, to a provider that reads its cache at the end of blocks only.

    ## Why it costs

    An entry ends where a marked block ends. When the next request's block goes on behind that place, no block ends there any
    more, so the entry cannot be found, however much of the text is the same.

    ## Example

        turn 1: [{"type": "text", "text": "user: ...", "cache_control": ...}]
        turn 2: [{"type": "text", "text": "user: ... assistant: ... user: ...", "cache_control": ...}]

    ## Fix

    Send what is added as a block (or a message) of its own, and mark the last one: the blocks before it stay as they were.
    """

    code = "FW306"
    name = "one-growing-block"

    def __init__(self) -> None:
        self._places: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or not case.request.marked_only or parted.new_piece.section != MESSAGE:
            return None
        if parted.chars < len(parted.old_piece.text) or parted.chars < WORTH_CHARS or parted.new_piece.kind != "text":
            return None
        self._places.add(parted.new_piece.place)
        return sight_break(case, parted)

    def forget(self, place: str) -> None:
        self._places.discard(place)

    def fixer(self) -> Fixer:
        ends: OrderedDict[str, tuple[int, ...]] = OrderedDict()  # earlier texts, and where they were cut

        def fix(request: LoggedRequest) -> LoggedRequest:
            pieces: list[LoggedPiece] = []
            for piece in request.pieces:
                pieces += _cut(piece, ends) if piece.place in self._places and piece.kind == "text" else [piece]
            return request if len(pieces) == len(request.pieces) else request.with_pieces(tuple(pieces))

        return fix


def _cut(piece: LoggedPiece, ends: "OrderedDict[str, tuple[int, ...]]") -> list[LoggedPiece]:
    """A piece cut where the longest earlier text that it begins with ended, and where that one was cut."""
    known = [text for text in ends if len(text) < len(piece.text) and piece.text.startswith(text)]
    before = max(known, key=len, default="")
    cuts = (*ends[before], len(before)) if before else ()
    ends[piece.text] = cuts
    if len(ends) > TEXTS_KEPT:
        ends.popitem(last=False)
    bounds = (0, *cuts, len(piece.text))
    rows = [piece._replace(text=piece.text[start:end], mark=None) for start, end in pairwise(bounds)]
    rows[-1] = rows[-1]._replace(mark=piece.mark)
    return rows
