"""Histories of one message a record: Cline's ``api_conversation_history.json``, and lists of chat messages."""

from collections.abc import Iterable

from foreword.audit.readers.base import LogReader, Record
from foreword.audit.readers.histories import requests_of
from foreword.audit.request import LoggedRequest

SPEAKERS = frozenset({"system", "developer", "user", "assistant", "tool"})


class MessageLists(LogReader):
    """Histories of one message a record: Cline's ``api_conversation_history.json``, and lists of chat messages."""

    kind = "history of messages"

    def __init__(self) -> None:
        self._messages: list[Record] = []
        self._line = 0

    def recognises(self, record: Record) -> bool:
        said = "content" in record or "tool_calls" in record
        return said and record.get("role") in SPEAKERS and "messages" not in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        if record["role"] == "system" and self._messages:
            yield from self.finish()
        self._messages.append(record)
        self._line = line

    def finish(self) -> Iterable[LoggedRequest]:
        messages, self._messages = self._messages, []
        yield from requests_of(messages, self._line, self.kind)
