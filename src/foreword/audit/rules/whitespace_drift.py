"""FW105."""

from foreword.audit.request import LoggedPiece
from foreword.audit.rules.same_meaning import SameMeaning
from foreword.audit.text_diff import without_spacing


class WhitespaceDrift(SameMeaning):
    """The same text comes with other spaces or line ends.

    ## Why it costs

    A blank more is another token, and everything behind it misses. Editors that trim lines, templates that indent, Windows
    line ends and JSON printed with other separators are the usual causes.

    ## Example

        "Answer briefly.\\n\\nCite sources."
        "Answer briefly.\\r\\n\\r\\nCite sources. "

    ## Fix

    Normalise line ends and trailing blanks once, when the prompt is loaded; send earlier messages back as they were sent.
    """

    code = "FW105"
    name = "whitespace-drift"

    def meaning(self, piece: LoggedPiece) -> str | None:
        return without_spacing(piece.text)
