"""FW205."""

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.conversations import Conversations
from foreword.audit.request import SETTINGS, LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule


class SettingsChanged(Rule):
    """Thinking, the choice of a tool, speed, or the presence of images changes within a conversation.

    ## Why it costs

    Anthropic keeps cached messages apart by these settings: tools and system are still found, but the messages behind them
    are computed again, until the same setting comes back.

    ## Example

        turn 3: "thinking": {"type": "enabled", "budget_tokens": 8192}
        turn 4: "thinking": {"type": "enabled", "budget_tokens": 1024}

    ## Fix

    Choose thinking, `tool_choice` and speed when a conversation begins and stay with them; ask for more or less thought, or
    for a tool, in the last message. An image that comes late costs once: send it in the first message if it can be known.
    """

    code = "FW205"
    name = "settings-changed"

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or case.before is None or parted.old is not case.before.value:
            return None
        if SETTINGS not in (parted.old_piece.section, parted.new_piece.section):
            return None
        seen = parted.new_piece if parted.new_piece.section == SETTINGS else parted.old_piece
        self._kinds.add(seen.kind)
        sighting = sight_break(case, parted)
        return Sighting(seen.place, seen.label, sighting.line, sighting.position, sighting.old, sighting.new)

    def forget(self, place: str) -> None:
        self._kinds.discard(place)

    def fixer(self) -> Fixer:
        if not self._kinds:
            return lambda request: request
        settings: Conversations[tuple[LoggedPiece, ...]] = Conversations()

        def fix(request: LoggedRequest) -> LoggedRequest:
            own = tuple(piece for piece in request.pieces if piece.section == SETTINGS)
            link = settings.follow(request)
            kept = own if link is None else link.value
            settings.keep(request, kept)
            if kept == own:
                return request
            first = request.messages_from()
            head = (piece for piece in request.pieces[:first] if piece.section != SETTINGS)
            return request.with_pieces((*head, *kept, *request.pieces[first:]))

        return fix
