"""One request as the rules see it: what it found, the earlier request it should have followed, and where the two part."""

from dataclasses import dataclass

from foreword.audit.conversations import Link
from foreword.audit.provider_cache import Outcome
from foreword.audit.provider_terms import Terms
from foreword.audit.request import MEDIA, MESSAGE, MOVED, LoggedPiece, LoggedRequest
from foreword.audit.text_diff import encodable
from foreword.audit.tokens import Tokens
from foreword.prompt.texts import common_prefix

WORTH_CHARS = 64
"""Characters of shared text from which a break is worth a word."""
WORTH_TOKENS = 64
"""Tokens from which a hit that was missed is worth a word; two prompts may share one or two more by chance."""
AROUND = 60
"""Characters shown on each side of a difference."""
MARGIN = 500
"""Characters kept beyond those, not shown."""


@dataclass(frozen=True, slots=True)
class Parting:
    """Where a request parts from an earlier one: in its piece ``index``, after ``chars`` characters of that piece.

    ``position`` is in tokens from the beginning of the prompt.
    """

    old: LoggedRequest
    index: int
    chars: int
    position: int
    old_piece: LoggedPiece
    new_piece: LoggedPiece


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and all that is known about it in this pass."""

    request: LoggedRequest
    tokens: Tokens
    outcome: Outcome
    terms: Terms
    before: Link[LoggedRequest] | None
    parted: Parting | None

    def shared_behind(self, anywhere: bool = False) -> bool:
        """Whether a good deal of text behind the parted piece stands in the earlier request too.

        Looked at is what could change places with the piece: the same message; behind tools and system, the system and the
        first message. ``anywhere``: all that follows.
        """
        parted = self.parted
        if parted is None:
            return False
        at = parted.new_piece
        earlier = {piece.text for piece in parted.old.pieces[parted.index + 1 :]}
        chars = 0
        for piece in self.request.pieces[parted.index + 1 :]:
            near = piece.message == at.message and (piece.section == at.section or at.section != MESSAGE)
            if (anywhere or near) and piece.kind != MOVED and piece.text in earlier:
                chars += len(piece.text)
        return chars >= WORTH_CHARS


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A few words of a prompt, ``start`` to ``end`` of ``around``; with what is on both sides, secrets are recognised."""

    around: str
    start: int
    end: int

    @property
    def text(self) -> str:
        """The words as they are."""
        return self.around[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A rule saw its fault: where, and what stood there in the earlier request (None: nothing to compare) and now.

    ``about``: what the value is, where a place may have several. ``lost`` (tokens) and ``dollars``: what it cost, where that
    is in the log and no replay can tell it. ``summary`` and ``advice``: words for this kind of the fault (empty: the rule's
    own). ``fault``: False where the rule knows why the prompts part and finds it right.
    """

    place: str
    label: str
    line: int
    position: int
    old: Excerpt | None
    new: Excerpt
    about: str = ""
    lost: int = 0
    dollars: float | None = None
    summary: str = ""
    advice: str = ""
    fault: bool = True


def part(old: LoggedRequest, request: LoggedRequest, tokens: Tokens, seen: int) -> Parting | None:
    """Where two prompts part; None if one of them only goes on where the other ends."""
    index = shared_pieces(old, request)
    if index >= min(len(old.pieces), len(request.pieces)):
        return None
    old_piece, new_piece = old.pieces[index], request.pieces[index]
    if MOVED in (old_piece.kind, new_piece.kind):
        return None
    alike = old_piece[:3] == new_piece[:3] and new_piece.kind not in MEDIA
    chars = common_prefix(old_piece.text, new_piece.text) if alike else 0
    position = max(tokens.start_of(index), min(seen, tokens.end_of(index)))
    return Parting(old, index, chars, position, old_piece, new_piece)


def shared_pieces(old: LoggedRequest, new: LoggedRequest) -> int:
    """Whole pieces that two prompts begin with in common."""
    for i, (one, two) in enumerate(zip(old.pieces, new.pieces, strict=False)):
        if one.text != two.text or one[:3] != two[:3]:
            return i
    return min(len(old.pieces), len(new.pieces))


def sight_break(case: Case, parted: Parting) -> Sighting:
    """The sighting of a fault that shows where two prompts part."""
    piece = parted.new_piece
    old, new = (excerpt(text, parted.chars) for text in (parted.old_piece.text, piece.text))
    return Sighting(piece.place, piece.label, case.request.line, parted.position, old, new)


def sight_piece(case: Case, index: int) -> Sighting:
    """The sighting of a fault at the end of one piece, where there is nothing to compare."""
    while index and case.request.pieces[index].kind == MOVED:  # a fix has put it there; it is not in the log
        index -= 1
    piece = case.request.pieces[index]
    new = excerpt(piece.text, len(piece.text))
    return Sighting(piece.place, piece.label, case.request.line, case.tokens.end_of(index), None, new)


def excerpt(text: str, at: int) -> Excerpt:
    """The words around a character of a text."""
    start, end = max(0, at - AROUND), min(len(text), at + AROUND)
    cut = max(0, start - MARGIN)
    return Excerpt(encodable(text[cut : end + MARGIN]), start - cut, end - cut)
