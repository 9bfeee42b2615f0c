"""FW206."""

import json

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.text_diff import FirstForm
from foreword.prompt.vendor_forms.blocks import as_json


class CallIdsRenewed(Rule):
    """The ids of earlier calls are made anew in each turn.

    ## Why it costs

    The id of a call stands in the call and in its result, and is part of the prompt. A proxy or a framework that makes new
    ids whenever it writes the history computes the conversation again from the first call on.

    ## Example

        turn 3: {"type": "tool_use", "id": "toolu_01A...", "name": "read", ...}
        turn 4: {"type": "tool_use", "id": "toolu_9f2...", "name": "read", ...}    the same call

    ## Fix

    Keep the ids that the model gave, and send them back in every later turn; where ids must be made, derive them from the
    call's place in the conversation.
    """

    code = "FW206"
    name = "call-ids-renewed"

    def __init__(self) -> None:
        self._places: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.old_piece.kind != parted.new_piece.kind:
            return None
        meaning = _without_id(parted.new_piece)
        if meaning is None or meaning != _without_id(parted.old_piece):
            return None
        self._places.add(parted.new_piece.place)
        return sight_break(case, parted)

    def forget(self, place: str) -> None:
        self._places.discard(place)

    def fixer(self) -> Fixer:
        first = FirstForm()

        def fix(request: LoggedRequest) -> LoggedRequest:
            if not self._places:
                return request
            pieces = list(request.pieces)
            for i, piece in enumerate(pieces):
                meaning = _without_id(piece)
                if meaning is not None:
                    pieces[i] = piece._replace(text=first.of(f"{piece.message} {piece.block} {meaning}", piece.text))
            return request if tuple(pieces) == request.pieces else request.with_pieces(tuple(pieces))

        return fix


def _without_id(piece: LoggedPiece) -> str | None:
    """What a call or a result says beside its id; None for any other piece."""
    if piece.kind == "tool_result":
        return piece.text.partition("\n")[2] or None
    if piece.kind != "tool_use":
        return None
    try:
        call = json.loads(piece.text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict):
        return None
    return as_json({key: value for key, value in call.items() if key not in ("id", "call_id")})
