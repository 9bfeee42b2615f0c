"""FW205."""

from foreword.audit.case import Case, Sighting, excerpt
from foreword.audit.conversations import Conversations
from foreword.audit.request import SETTINGS, LoggedPiece, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.prompt.texts import common_prefix

UNSET = {
    "thinking": '{"type":"disabled"}',
    "tool_choice": '{"type":"auto"}',
    "speed": '"standard"',
    "images": "no images",
}
"""What holds where a request says nothing about a setting."""


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
        kind = next((kind for kind in UNSET if _setting(parted.old, kind) != _setting(case.request, kind)), None)
        if kind is None:
            return None
        self._kinds.add(kind)
        old, new = _setting(parted.old, kind), _setting(case.request, kind)
        shared = common_prefix(old, new)
        return Sighting(kind, kind, case.request.line, parted.position, excerpt(old, shared), excerpt(new, shared))

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


def _setting(request: LoggedRequest, kind: str) -> str:
    """What a request chose, or what holds without a choice."""
    return next((piece.text for piece in request.pieces if piece.section == SETTINGS and piece.kind == kind), UNSET[kind])
