"""FW103."""

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import FirstForm, without_order, without_spacing


class JsonOrder(Rule):
    """The same JSON is written with its keys in another order, or its numbers in another form.

    ## Why it costs

    To the model the text is another one from the first key on. Sets, hash maps and some serialisers give the keys an order
    that changes from process to process.

    ## Example

        {"type": "object", "properties": {"city": ..., "unit": ...}}
        {"properties": {"unit": ..., "city": ...}, "type": "object"}

        {"limit": 2000.0}
        {"limit": 2000}

    ## Fix

    Write JSON in canonical form: sorted keys, one spacing (`json.dumps(value, sort_keys=True)`), rendered once and kept.
    """

    code = "FW103"
    name = "json-order"

    def __init__(self) -> None:
        self._places: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.old_piece.kind != parted.new_piece.kind:
            return None
        meaning = without_order(parted.new_piece.text)
        if meaning is None or meaning != without_order(parted.old_piece.text):
            return None
        if without_spacing(parted.new_piece.text) == without_spacing(parted.old_piece.text):
            return None  # nothing but the separators are others
        self._places.add(parted.new_piece.place)
        return sight_break(case, parted)

    def forget(self, place: str) -> None:
        self._places.discard(place)

    def fixer(self) -> Fixer:
        first = FirstForm()

        def fix(request: LoggedRequest) -> LoggedRequest:
            pieces = list(request.pieces)
            for i, piece in enumerate(pieces):
                meaning = without_order(piece.text) if piece.place in self._places else None
                if meaning is not None:
                    pieces[i] = piece._replace(text=first.of(meaning, piece.text))
            return request if tuple(pieces) == request.pieces else request.with_pieces(tuple(pieces))

        return fix
