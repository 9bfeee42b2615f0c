"""FW202."""

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.rules.tools_changed import name_of


class ToolsReordered(Rule):
    """The same tools come in another order.

    ## Why it costs

    Tools stand at the very beginning of the prompt, and their order is part of it: from the first tool that has another
    place, everything is computed again. Registries that are sets or are filled by threads have no order of their own.

    ## Example

        request 1: tools = [search, read_file, send_mail]
        request 2: tools = [send_mail, search, read_file]

    ## Fix

    Sort the tools by name before sending them, or render the list once and keep it.
    """

    code = "FW202"
    name = "tools-reordered"

    def __init__(self) -> None:
        self._seen = False

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.new_piece.kind != "tool" or parted.old_piece.kind != "tool":
            return None
        old, new = _names(parted.old), _names(case.request)
        if old == new or sorted(old) != sorted(new):
            return None
        self._seen = True
        return sight_break(case, parted)

    def fixer(self) -> Fixer:
        return _sorted if self._seen else lambda request: request


def _names(request: LoggedRequest) -> list[str]:
    return [name_of(piece) for piece in request.pieces if piece.kind == "tool"]


def _sorted(request: LoggedRequest) -> LoggedRequest:
    tools = [piece for piece in request.pieces if piece.kind == "tool"]
    ordered: list[LoggedPiece] = sorted(tools, key=name_of)
    if ordered == tools:
        return request
    last = next((piece.mark for piece in tools if piece.mark is not None), None)
    pieces = [piece._replace(block=i, mark=None) for i, piece in enumerate(ordered)]
    pieces[-1] = pieces[-1]._replace(mark=last)
    return request.with_pieces((*pieces, *(piece for piece in request.pieces if piece.kind != "tool")))
