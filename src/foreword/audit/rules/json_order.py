"""FW103."""

from foreword.audit.case import Case, Sighting
from foreword.audit.request import LoggedPiece
from foreword.audit.rules.same_meaning import SameMeaning
from foreword.audit.text_diff import without_order, without_spacing

SCHEMA_SETS = frozenset({"required", "enum", "type"})
"""Keys of a schema whose values are sets: in another order they allow the same."""


class JsonOrder(SameMeaning):
    """The same JSON is written with its keys in another order, or its numbers in another form.

    ## Why it costs

    To the model the text is another one from the first key on. Sets, hash maps and some serialisers give the keys an order
    that changes from process to process.

    ## Example

        {"type": "object", "properties": {"city": ..., "unit": ...}}
        {"properties": {"unit": ..., "city": ...}, "type": "object"}

        {"limit": 2000.0}
        {"limit": 2000}

        {"enum": ["open", "closed"]}
        {"enum": ["closed", "open"]}

    ## Fix

    Write JSON in canonical form: sorted keys, one spacing (`json.dumps(value, sort_keys=True)`), rendered once and kept.
    Sort what comes from a set (a tool's `enum`, `required`) before it is written.
    """

    code = "FW103"
    name = "json-order"

    def meaning(self, piece: LoggedPiece) -> str | None:
        return without_order(piece.text, SCHEMA_SETS if piece.kind == "tool" else frozenset())

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is not None and without_spacing(parted.new_piece.text) == without_spacing(parted.old_piece.text):
            return None  # nothing but the separators are others
        return super().examine(case)
