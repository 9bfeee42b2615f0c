"""FW104."""

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.changing_values import ChangingValues
from foreword.audit.request import MEDIA, MESSAGE, SYSTEM
from foreword.audit.rules.base import Fixer, Rule


class StaticAfterDynamic(Rule):
    """Text that never changes stands behind text that does.

    ## Why it costs

    The fixed part is computed again with every request, although it could be the shared beginning of all of them.

    ## Example

        Passages found for this question: ...
        Answer by these rules: ... 1,500 tokens, the same each time ...

    ## Fix

    Put the fixed part first and the changing part (retrieved passages, the question, the state of things) behind it.
    """

    code = "FW104"
    name = "static-after-dynamic"

    def __init__(self) -> None:
        self._changing = ChangingValues()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.new_piece.kind in MEDIA or parted.new_piece[:3] != parted.old_piece[:3]:
            return None
        piece = parted.new_piece
        if piece.section != SYSTEM and not (piece.section == MESSAGE and piece.message == 0):
            return None
        return sight_break(case, parted) if self._changing.learn(parted, case.shared_behind()) else None

    def forget(self, place: str) -> None:
        self._changing.forget(place)

    def fixer(self) -> Fixer:
        return self._changing.moved_out
