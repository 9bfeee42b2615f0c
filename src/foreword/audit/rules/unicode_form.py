"""FW108."""

import unicodedata
from dataclasses import replace

from foreword.audit.case import Case, Excerpt, Sighting, sight_break
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import FirstForm


class UnicodeForm(Rule):
    """The same text comes in another Unicode form (NFC, NFD): it looks the same and is not.

    ## Why it costs

    An accented letter can be one code point or two. The bytes differ, so do the tokens, and everything behind misses. File
    names from macOS, decomposing databases and gateways that normalise are the usual causes.

    ## Example

        caf\\u00e9      NFC: one code point
        cafe\\u0301     NFD: a letter and a combining accent

    ## Fix

    Normalise texts once, where they come in (`unicodedata.normalize("NFC", text)`), and send earlier messages back as they
    were.
    """

    code = "FW108"
    name = "unicode-form"

    def __init__(self) -> None:
        self._places: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.old_piece.kind != parted.new_piece.kind or parted.new_piece.text.isascii():
            return None
        if _composed(parted.old_piece.text) != _composed(parted.new_piece.text):
            return None
        self._places.add(parted.new_piece.place)
        seen = sight_break(case, parted)
        return replace(seen, old=None if seen.old is None else _code_points(seen.old), new=_code_points(seen.new))

    def forget(self, place: str) -> None:
        self._places.discard(place)

    def fixer(self) -> Fixer:
        first = FirstForm()

        def fix(request: LoggedRequest) -> LoggedRequest:
            pieces = tuple(
                piece._replace(text=first.of(_composed(piece.text), piece.text)) if piece.place in self._places else piece
                for piece in request.pieces
            )
            return request if pieces == request.pieces else request.with_pieces(pieces)

        return fix


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _code_points(excerpt: Excerpt) -> Excerpt:
    """An excerpt with all that is not ASCII as its code points."""
    head, shown, tail = (
        text.encode("ascii", "backslashreplace").decode()
        for text in (excerpt.around[: excerpt.start], excerpt.text, excerpt.around[excerpt.end :])
    )
    return Excerpt(head + shown + tail, len(head), len(head) + len(shown))
