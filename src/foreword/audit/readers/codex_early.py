"""Codex's rollouts of its first months: bare items behind a head, or one object with the session and its items.

They have neither the model's name nor usage.
"""

from collections.abc import Iterable, Iterator

from foreword.audit.readers.base import LogReader, Record
from foreword.audit.readers.codex_items import MADE_BY_MODEL, CodexItems
from foreword.audit.readers.values import listed, mapping, seconds
from foreword.audit.request import LoggedRequest

ITEMS = MADE_BY_MODEL | {"function_call_output", "custom_tool_call_output", "local_shell_call_output"}
HEAD = frozenset({"id", "timestamp", "instructions"})


class EarlyCodex(LogReader):
    """Rollouts of Codex up to the summer of 2025. The tools are not in the file."""

    kind = "early Codex rollout"

    def __init__(self) -> None:
        self._items: CodexItems | None = None

    def recognises(self, record: Record) -> bool:
        if _is_head(record) or record.get("record_type") == "state" or _is_whole(record):
            return True
        if record.get("type") in ITEMS and ("call_id" in record or "summary" in record or "action" in record):
            return True
        return self._items is not None and record.get("type") == "message" and "role" in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        if _is_whole(record):
            yield from self.finish()
            yield from self._begun(mapping(record["session"]))
            for item in record["items"]:
                if isinstance(item, dict):
                    yield from self._take(item, line)
            yield from self.finish()
        elif _is_head(record):
            yield from self._begun(record)
        elif "record_type" not in record:
            yield from self._take(record, line)

    def finish(self) -> Iterable[LoggedRequest]:
        items, self._items = self._items, None
        last = None if items is None else items.request(None)
        if last is not None:
            yield last

    def _begun(self, head: Record) -> Iterator[LoggedRequest]:
        yield from self.finish()
        told = head.get("instructions")
        self._items = CodexItems(self.kind, told if isinstance(told, str) else "", str(head.get("model") or ""))

    def _take(self, item: Record, line: int) -> Iterator[LoggedRequest]:
        if self._items is None:
            self._items = CodexItems(self.kind)
        earlier = self._items.add(dict(item), seconds(item.get("timestamp")), line)
        if earlier is not None:
            yield earlier


def _is_head(record: Record) -> bool:
    return record.keys() >= HEAD and not record.keys() & {"messages", "input", "role", "type"}


def _is_whole(record: Record) -> bool:
    return (
        isinstance(record.get("session"), dict) and isinstance(record.get("items"), list) and bool(listed(record["items"]))
    )
