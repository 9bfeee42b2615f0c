"""FW108."""

import unicodedata
from dataclasses import replace

from foreword.audit.case import Case, Excerpt, Sighting
from foreword.audit.request import LoggedPiece
from foreword.audit.rules.same_meaning import SameMeaning


class UnicodeForm(SameMeaning):
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

    def meaning(self, piece: LoggedPiece) -> str | None:
        return piece.text if piece.text.isascii() else unicodedata.normalize("NFC", piece.text)

    def examine(self, case: Case) -> Sighting | None:
        seen = super().examine(case)
        if seen is None:
            return None
        return replace(seen, old=None if seen.old is None else _code_points(seen.old), new=_code_points(seen.new))


def _code_points(excerpt: Excerpt) -> Excerpt:
    """An excerpt with all that is not ASCII as its code points."""
    head, shown, tail = (
        text.encode("ascii", "backslashreplace").decode()
        for text in (excerpt.around[: excerpt.start], excerpt.text, excerpt.around[excerpt.end :])
    )
    return Excerpt(head + shown + tail, len(head), len(head) + len(shown))
