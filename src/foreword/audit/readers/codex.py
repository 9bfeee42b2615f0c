"""Codex's rollouts: the items of a conversation, a line each, and after each answer what it took in tokens."""

from collections.abc import Iterable, Iterator
from typing import Any

from foreword.audit.readers.base import LogReader, Record
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import mapping, seconds
from foreword.audit.request import LoggedRequest

LINES = frozenset({"session_meta", "turn_context", "response_item", "event_msg", "compacted"})
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


class Codex(LogReader):
    """Rollouts of Codex (``~/.codex/sessions``). The tools are not in the file."""

    kind = "Codex rollout"

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._instructions = ""
        self._model = ""
        self._items: list[tuple[dict[str, Any], float | None]] = []
        self._answer: tuple[int, float | None, int] | None = None  # items before it, its first item's time and line
        self._total: Any = None

    def recognises(self, record: Record) -> bool:
        return record.get("type") in LINES and isinstance(record.get("payload"), dict)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        payload, kind = record["payload"], record["type"]
        if kind == "session_meta":
            yield from self.finish()
            told = payload.get("base_instructions", payload.get("instructions"))
            self._instructions = str(mapping(told).get("text") or (told if isinstance(told, str) else ""))
        elif kind == "turn_context":
            self._model = str(payload.get("model") or self._model)
        elif kind == "compacted":
            self._compact(payload)
        elif kind == "response_item":
            self._add(payload, seconds(record.get("timestamp")), line)
        elif payload.get("type") == "token_count":
            yield from self._counted(payload)

    def finish(self) -> Iterable[LoggedRequest]:
        yield from self._request(None)
        self._start()

    def _compact(self, payload: Record) -> None:
        replaced = payload.get("replacement_history")
        items = replaced if isinstance(replaced, list) else [_summary(payload.get("message"))]
        self._items = [(item, None) for item in items if isinstance(item, dict)]
        self._answer = None

    def _add(self, item: dict[str, Any], time: float | None, line: int) -> None:
        by_model = item.get("type") in MADE_BY_MODEL or item.get("role") == "assistant"
        if by_model and self._answer is None:
            self._answer = len(self._items), time, line
        self._items.append((item, time))

    def _counted(self, payload: Record) -> Iterator[LoggedRequest]:
        """The usage of the answer that came last; the same count comes again with news of limits."""
        info = mapping(payload.get("info"))
        usage, total = info.get("last_token_usage"), info.get("total_token_usage")
        if not isinstance(usage, dict) or (total is not None and total == self._total):
            return
        self._total = total
        yield from self._request(usage)

    def _request(self, usage: Any) -> Iterator[LoggedRequest]:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        count, begun, line = answer
        if not count and not self._instructions:
            return
        asked = self._items[count - 1][1] if count else None
        wait = None if asked is None or begun is None else max(0.0, begun - asked)
        body = {
            "model": self._model,
            "instructions": self._instructions,
            "input": [item for item, _ in self._items[:count]],
        }
        around = Around(
            kind=self.kind, provider="openai", time=begun if asked is None else asked, first_token=wait, usage=usage
        )
        yield request_of(body, line, around)


def _summary(text: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": str(text or "")}]}
