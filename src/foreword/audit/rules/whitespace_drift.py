"""FW105."""

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import FirstForm, without_spacing


class WhitespaceDrift(Rule):
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

    def __init__(self) -> None:
        self._places: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.old_piece.kind != parted.new_piece.kind:
            return None
        if without_spacing(parted.old_piece.text) != without_spacing(parted.new_piece.text):
            return None
        self._places.add(parted.new_piece.place)
        return sight_break(case, parted)

    def forget(self, place: str) -> None:
        self._places.discard(place)

    def fixer(self) -> Fixer:
        first = FirstForm()

        def fix(request: LoggedRequest) -> LoggedRequest:
            pieces = tuple(
                piece._replace(text=first.of(without_spacing(piece.text), piece.text))
                if piece.place in self._places
                else piece
                for piece in request.pieces
            )
            return request if pieces == request.pieces else request.with_pieces(pieces)

        return fix
