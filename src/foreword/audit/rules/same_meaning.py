"""What the rules share for which two texts are different and mean the same: the one that was seen first is to stay."""

from abc import abstractmethod

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import FirstForm


class SameMeaning(Rule):
    """A text that comes again in another form. Its fixer sends, for every text of one meaning, the first of them."""

    def __init__(self) -> None:
        self._places: set[str] = set()

    @abstractmethod
    def meaning(self, piece: LoggedPiece) -> str | None:
        """What is left of a piece's text when the form does not count; None where this rule has nothing to say."""

    def mends(self, place: str) -> bool:
        """Whether pieces at a place are mended, once the fault was seen somewhere."""
        return place in self._places

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.old_piece.kind != parted.new_piece.kind:
            return None
        meaning = self.meaning(parted.new_piece)
        if meaning is None or meaning != self.meaning(parted.old_piece):
            return None
        self._places.add(parted.new_piece.place)
        return sight_break(case, parted)

    def forget(self, place: str) -> None:
        self._places.discard(place)

    def fixer(self) -> Fixer:
        if not self._places:
            return lambda request: request
        first = FirstForm()

        def mended(piece: LoggedPiece) -> LoggedPiece:
            meaning = self.meaning(piece) if self.mends(piece.place) else None
            return piece if meaning is None else piece._replace(text=first.of(meaning, piece.text))

        def fix(request: LoggedRequest) -> LoggedRequest:
            pieces = tuple(map(mended, request.pieces))
            return request if pieces == request.pieces else request.with_pieces(pieces)

        return fix
