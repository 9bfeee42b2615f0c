"""FW206."""

import json

from foreword.audit.request import LoggedPiece
from foreword.audit.rules.same_meaning import SameMeaning
from foreword.prompt.vendor_forms.blocks import as_json


class CallIdsRenewed(SameMeaning):
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

    def meaning(self, piece: LoggedPiece) -> str | None:
        said = _without_id(piece)
        return None if said is None else f"{piece.message} {piece.block} {said}"

    def mends(self, place: str) -> bool:  # noqa: ARG002 (an id stands in the call and in its result)
        return True


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
