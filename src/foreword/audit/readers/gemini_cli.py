"""Gemini CLI's sessions: one JSON file, the messages of a conversation; a request for each of the model's."""

from collections.abc import Iterable
from typing import Any

from foreword.audit.readers.base import Record, Stateless
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import finite, listed, mapping, seconds
from foreword.audit.request import LoggedRequest


class GeminiCli(Stateless):
    """Sessions of Gemini CLI (``~/.gemini/tmp/*/chats``). System prompt and tools are not in the file."""

    kind = "Gemini CLI session"

    def recognises(self, record: Record) -> bool:
        return "sessionId" in record and isinstance(record.get("messages"), list) and "projectHash" in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        contents: list[dict[str, Any]] = []
        asked: float | None = None
        for message in record["messages"]:
            if not isinstance(message, dict):
                continue
            time = seconds(message.get("timestamp"))
            if message.get("type") == "gemini":
                if contents:
                    yield self._request(message, contents, asked, time, line)
                contents = [*contents, *_answer(message)]
            elif message.get("type") == "user":
                contents = [*contents, {"role": "user", "parts": _parts(message.get("content"))}]
            asked = time

    def _request(
        self, message: Record, contents: list[dict[str, Any]], asked: float | None, time: float | None, line: int
    ) -> LoggedRequest:
        tokens = mapping(message.get("tokens"))
        counts = {"promptTokenCount": tokens.get("input"), "cachedContentTokenCount": tokens.get("cached")}
        usage = counts if tokens else None
        return request_of(
            {"model": message.get("model"), "contents": contents},
            line,
            Around(
                kind=self.kind,
                time=time if asked is None else asked,
                first_token=None if asked is None or time is None else max(0.0, finite(time - asked) or 0.0),
                usage=usage,
            ),
        )


def _answer(message: Record) -> list[dict[str, Any]]:
    """The model's turn, and the results of its calls, which stand with it."""
    calls = [call for call in listed(message.get("toolCalls")) if isinstance(call, dict)]
    said = _parts(message.get("content")) if message.get("content") else []
    said += [{"functionCall": {"id": c.get("id"), "name": c.get("name"), "args": c.get("args")}} for c in calls]
    results = [result for call in calls for result in listed(call.get("result"))]
    turns = [{"role": "model", "parts": said}] if said else []
    return [*turns, {"role": "user", "parts": results}] if results else turns


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"text": content if isinstance(content, str) else str(content or "")}]
