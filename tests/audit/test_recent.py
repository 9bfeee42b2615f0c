"""The requests seen last."""

from foreword.audit.recent import KeptRequests
from foreword.audit.request import MESSAGE, LoggedPiece, LoggedRequest


def test_wide_characters_take_their_room() -> None:
    """A text with one emoji takes four bytes a character."""
    recent = KeptRequests(2**20)
    for i in range(10):
        recent.keep(
            i, LoggedRequest(1, "p", "m", (LoggedPiece(MESSAGE, "text", "user", i, 0, "a" * 100_000 + "\U0001f600"),)), None
        )
    assert len(recent) == 2
