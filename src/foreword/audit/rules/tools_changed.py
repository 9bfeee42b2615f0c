"""FW201."""

import json
from collections import OrderedDict
from functools import lru_cache

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import SYSTEM, TOOLS, LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.prompt.chat import tool_name

GROUPS_KEPT = 200
TOOLS_KEPT = 500
LONGEST_KEPT = 4_096
"""Characters of a tool whose name is remembered."""


class ToolsChanged(Rule):
    """Tools are added or removed from one request to the next, under the same system prompt.

    ## Why it costs

    Tools stand at the very beginning of the prompt. One tool more or less, and the system prompt and the whole conversation
    behind it are computed again.

    ## Example

        turn 1: tools = [search, read_file]
        turn 2: tools = [search, read_file, write_file]

    ## Fix

    Send the full set of tools from the first turn on, and narrow it without touching the prefix: `tool_choice` with
    `allowed_tools`, a sentence in the last message, or a tool that loads others by name.
    """

    code = "FW201"
    name = "tools-changed"

    def __init__(self) -> None:
        self._sets: OrderedDict[int, dict[str, LoggedPiece]] = OrderedDict()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or TOOLS not in (parted.old_piece.section, parted.new_piece.section):
            return None
        old, new = _tools(parted.old), _tools(case.request)
        if not new or not old or set(old) == set(new):
            return None
        if _group(parted.old) != _group(case.request):
            return None
        known = self._sets.setdefault(_group(case.request), {})
        self._sets.move_to_end(_group(case.request))
        if len(self._sets) > GROUPS_KEPT:
            self._sets.popitem(last=False)
        for name, piece in (old | new).items():
            if len(known) < TOOLS_KEPT:
                known.setdefault(name, piece)
        return sight_break(case, parted)

    def fixer(self) -> Fixer:
        return self._with_all_tools

    def _with_all_tools(self, request: LoggedRequest) -> LoggedRequest:
        known = self._sets.get(_group(request))
        own = _tools(request)
        if known is None or list(own) == list(known):
            return request
        tools = [own.get(name, piece)._replace(block=i, mark=None) for i, (name, piece) in enumerate(known.items())]
        marks = [piece.mark for piece in own.values() if piece.mark is not None]
        if marks:
            tools[-1] = tools[-1]._replace(mark=marks[-1])
        rest = tuple(piece for piece in request.pieces if piece.kind != "tool")
        return request.with_pieces((*tools, *rest))


def name_of(piece: LoggedPiece) -> str:
    """The name of a tool; of a vendor's own tool without one, its type."""
    return _known_name(piece.text) if len(piece.text) <= LONGEST_KEPT else _name(piece.text)


def _name(text: str) -> str:
    try:
        tool = json.loads(text)
    except ValueError:
        return text
    return tool_name(tool) or str(tool.get("type"))


_known_name = lru_cache(maxsize=TOOLS_KEPT)(_name)


def _tools(request: LoggedRequest) -> dict[str, LoggedPiece]:
    return {name_of(piece): piece for piece in request.pieces if piece.kind == "tool"}


def _group(request: LoggedRequest) -> int:
    """Requests of one system prompt; without one, of one first message."""
    system = tuple(piece.text for piece in request.pieces if piece.section == SYSTEM)
    first = request.messages_from()
    return hash((request.cache_name, system or tuple(piece.text for piece in request.pieces[first : first + 1])))
