"""Which request goes on from which: conversations found again in a log without ids.

A later turn holds the last two blocks of the turn before it somewhere before its end. Where a client changes just those,
the first message of the conversation is the second clue. Of two candidates the one that begins with more of the same counts.
The third clue is the text of a first message that begins with an image or a file, for where those come with other bytes.
"""

from array import array
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Generic, TypeVar

from foreword.audit.request import MEDIA, MOVED, LoggedPiece, LoggedRequest

V = TypeVar("V")

KEPT = 4_096
KEPT_BYTES = 32 * 2**20
BLOCKS_LOOKED_BACK = 64
TELLING = 16
"""Characters from which a text says enough to find a conversation by it."""


@dataclass(frozen=True, slots=True)
class Link(Generic[V]):
    """``value`` was kept for the turn before; ``at`` blocks of this request's messages stand for that turn's own.

    ``sure``: found by the blocks that the earlier turn ended with.
    """

    value: V
    at: int
    sure: bool


@dataclass(frozen=True, slots=True)
class _Turn(Generic[V]):
    value: V
    blocks: "array[int]"  # hashes of its message blocks
    size: int
    alone: bool = True  # no other conversation is known to begin with the same text and other media


class Conversations(Generic[V]):
    """The latest turns, bounded in number and in bytes: of their blocks' hashes, and of the text that their values hold."""

    def __init__(self) -> None:
        self._turns: OrderedDict[int, _Turn[V]] = OrderedDict()
        self.size = 0  # bytes of the turns held

    def __len__(self) -> int:
        """Beginnings and endings by which a turn can be found."""
        return len(self._turns)

    def follow(self, request: LoggedRequest) -> Link[V] | None:
        """The turn before this one, if it was kept."""
        blocks = _blocks(request)
        by_tail: tuple[_Turn[V], int] | None = None
        last = len(blocks) - 2
        for i in range(last, max(-1, last - BLOCKS_LOOKED_BACK), -1):
            turn = self._turns.get(_tail(request, blocks, i))
            if turn is not None:
                by_tail = turn, i + 1
                break
        head = self._turns.get(_head(request, blocks)) if blocks and _tells(request) else None
        if head is not None and len(head.blocks) >= len(blocks):
            kept = _kept_behind_the_first(head.blocks, blocks)
            if kept and (by_tail is None or by_tail[1] < kept):
                return Link(head.value, kept, False)
        shared = -1 if by_tail is None else _alike(by_tail[0].blocks, blocks)
        held = 0 if by_tail is None else len(by_tail[0].blocks)
        alike = -1 if head is None or len(head.blocks) >= len(blocks) else _alike(head.blocks, blocks)
        if head is not None and (alike > shared or (alike == shared and len(head.blocks) > held)):
            return Link(head.value, len(head.blocks), False)
        if by_tail is not None:
            return Link(by_tail[0].value, by_tail[1], True)
        return self._beside_media(request, blocks)

    def keep(self, request: LoggedRequest, value: V, chars: int = 0) -> None:
        """Remember a turn by how its messages end and begin. ``chars``: text that the value alone holds in memory."""
        blocks = _blocks(request)
        if blocks:
            turn = _Turn(value, blocks, chars + blocks.itemsize * len(blocks))
            self._put(_tail(request, blocks, len(blocks) - 1), turn)
            if _tells(request):
                self._put(_head(request, blocks), turn)
            text = _first_text(request)
            if text is not None:
                known = self._turns.get(text)
                same = known is None or known.blocks == blocks or _goes_on(known.blocks, request, blocks)
                self._put(text, replace(turn, alone=same and (known is None or known.alone)))

    def _beside_media(self, request: LoggedRequest, blocks: "array[int]") -> Link[V] | None:
        """The turn before whose blocks differ in nothing but media."""
        text = _first_text(request)
        turn = None if text is None else self._turns.get(text)
        if turn is None or not turn.alone or not _goes_on(turn.blocks, request, blocks):
            return None
        return Link(turn.value, len(turn.blocks), False)

    def _put(self, key: int, turn: _Turn[V]) -> None:
        known = self._turns.pop(key, None)
        self._turns[key] = turn
        self.size += turn.size - (known.size if known else 0)
        while len(self._turns) > 2 * KEPT or (self.size > KEPT_BYTES and len(self._turns) > 2):
            _, gone = self._turns.popitem(last=False)
            self.size -= gone.size


def _said(request: LoggedRequest) -> list[LoggedPiece]:
    return [piece for piece in request.pieces[request.messages_from() :] if piece.kind != MOVED]


def _blocks(request: LoggedRequest) -> "array[int]":
    return array("q", (hash(piece.text) for piece in _said(request)))


def _first_text(request: LoggedRequest) -> int | None:
    """A key of the texts of the first message; None unless media stand before them and they say enough."""
    at = request.messages_from()
    if at == len(request.pieces) or request.pieces[at].kind not in MEDIA:
        return None
    message = request.pieces[at].message
    first = takewhile(lambda piece: piece.message == message, request.pieces[at:])
    texts = tuple(piece.text for piece in first if piece.kind not in MEDIA and piece.kind != MOVED)
    return hash((request.scope, request.user, "text", texts)) if sum(map(len, texts)) >= TELLING else None


def _goes_on(earlier: "array[int]", request: LoggedRequest, blocks: "array[int]") -> bool:
    """Whether a request is longer than an earlier turn and begins with its blocks, media aside."""
    pairs = zip(earlier, blocks, _said(request), strict=False)
    return len(earlier) < len(blocks) and all(one == two or piece.kind in MEDIA for one, two, piece in pairs)


def _tail(request: LoggedRequest, blocks: "array[int]", i: int) -> int:
    return hash((request.scope, request.user, blocks[i - 1] if i else None, blocks[i]))


def _head(request: LoggedRequest, blocks: "array[int]") -> int:
    return hash((request.scope, request.user, "first", blocks[0]))


def _tells(request: LoggedRequest) -> bool:
    """Whether the first message says enough to find the conversation by it."""
    first = request.messages_from()
    return first < len(request.pieces) and len(request.pieces[first].text) >= TELLING


def _kept_behind_the_first(one: "array[int]", two: "array[int]") -> int:
    """Of a history that lost as much as it gained (a sliding window): its blocks up to the last that it had before; 0 if
    there is no such block behind the first, or nothing is new."""
    known = set(one)
    if two[-1] in known:
        return 0
    return next((i + 1 for i in range(len(two) - 1, 0, -1) if two[i] in known), 0)


def _alike(one: "array[int]", two: "array[int]") -> int:
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
