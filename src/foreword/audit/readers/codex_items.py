"""The items of a Codex conversation as they come, and the request that stood before each answer among them."""

from typing import Any

from foreword.audit.readers.base import Record
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.request import LoggedRequest

MADE_BY_MODEL = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "web_search_call",
        "tool_search_call",
        "image_generation_call",
        "reasoning",
    }
)


class CodexItems:
    """One conversation. An answer is the items of the model that follow each other."""

    def __init__(self, kind: str, instructions: str = "", model: str = ""):
        self.kind = kind
        self.instructions = instructions
        self.model = model
        self._items: list[tuple[dict[str, Any], float | None]] = []
        self._answer: tuple[int, float | None, int] | None = None  # items before it, its first item's time and line
        self._answered = False  # something that is not the model's came behind the open answer

    def __len__(self) -> int:
        return len(self._items)

    def replace(self, items: list[dict[str, Any]]) -> None:
        """Begin anew behind a compaction."""
        self._items = [(item, None) for item in items]
        self._answer = None

    def add(self, item: dict[str, Any], time: float | None, line: int) -> LoggedRequest | None:
        """Take an item; gives the request of the answer before this one, if nobody has asked for it."""
        earlier = None
        if item.get("type") in MADE_BY_MODEL or item.get("role") == "assistant":
            if self._answered:
                earlier = self.request(None)
            if self._answer is None:
                self._answer = len(self._items), time, line
        else:
            self._answered = self._answer is not None
        self._items.append((item, time))
        return earlier

    def request(self, usage: Any) -> LoggedRequest | None:
        """The request before the answer at hand; None when there is none, or nothing stood before it."""
        answer, self._answer, self._answered = self._answer, None, False
        if answer is None:
            return None
        count, begun, line = answer
        if not count and not self.instructions:
            return None
        asked = self._items[count - 1][1] if count else None
        wait = None if asked is None or begun is None else max(0.0, begun - asked)
        body: Record = {
            "model": self.model,
            "instructions": self.instructions,
            "input": [item for item, _ in self._items[:count]],
        }
        around = Around(
            kind=self.kind, provider="openai", time=begun if asked is None else asked, first_token=wait, usage=usage
        )
        return request_of(body, line, around)
