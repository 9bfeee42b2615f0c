"""Codex's rollouts: the items of a conversation, a line each, and after each answer what it took in tokens."""

from collections.abc import Iterable, Iterator
from typing import Any

from foreword.audit.readers.base import LogReader, Record
from foreword.audit.readers.codex_items import CodexItems
from foreword.audit.readers.values import mapping, seconds
from foreword.audit.request import LoggedRequest

LINES = frozenset({"session_meta", "turn_context", "response_item", "event_msg", "compacted"})


class Codex(LogReader):
    """Rollouts of Codex (``~/.codex/sessions``). The tools are not in the file."""

    kind = "Codex rollout"

    def __init__(self) -> None:
        self._items = CodexItems(self.kind)
        self._total: Any = None

    def recognises(self, record: Record) -> bool:
        return record.get("type") in LINES and isinstance(record.get("payload"), dict)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        payload, kind = record["payload"], record["type"]
        if kind == "session_meta":
            yield from self.finish()
            told = payload.get("base_instructions", payload.get("instructions"))
            self._items.instructions = str(mapping(told).get("text") or (told if isinstance(told, str) else ""))
        elif kind == "turn_context":
            self._items.model = str(payload.get("model") or self._items.model)
        elif kind == "compacted":
            self._compact(payload)
        elif kind == "response_item":
            earlier = self._items.add(payload, seconds(record.get("timestamp")), line)
            if earlier is not None:
                yield earlier
        elif payload.get("type") == "token_count":
            yield from self._counted(payload)

    def finish(self) -> Iterable[LoggedRequest]:
        items, self._items, self._total = self._items, CodexItems(self.kind), None
        last = items.request(None)
        if last is not None:
            yield last

    def _compact(self, payload: Record) -> None:
        replaced = payload.get("replacement_history")
        items = replaced if isinstance(replaced, list) else [_summary(payload.get("message"))]
        self._items.replace([item for item in items if isinstance(item, dict)])

    def _counted(self, payload: Record) -> Iterator[LoggedRequest]:
        """The usage of the answer that came last; the same count comes again with news of limits."""
        info = mapping(payload.get("info"))
        usage, total = info.get("last_token_usage"), info.get("total_token_usage")
        if not isinstance(usage, dict) or (total is not None and total == self._total):
            return
        self._total = total
        counted = self._items.request(usage)
        if counted is not None:
            yield counted


def _summary(text: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": str(text or "")}]}
