"""Aider's two histories, which are text: ``.aider.llm.history`` holds each request as it was sent, role by role, and
``.aider.chat.history.md`` the talk in Markdown, without the files and the instructions that went with it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import seconds
from foreword.audit.request import LoggedRequest

SENT, CHAT = "aider_sent", "aider_chat"
"""The keys under which ``documents`` gives the text of one request, and of one chat."""
_ROLES = frozenset({"system", "user", "assistant", "tool"})
_TOKENS = re.compile(r"> Tokens: ([\d.,]+[kM]?) sent(?:, ([\d.,]+[kM]?) cache write)?(?:, ([\d.,]+[kM]?) cache hit)?")
_MODEL = re.compile(r"> (?:Main model|Model): (\S+)")
_ANSWERED = "LLM RESPONSE "


class AiderSent(Stateless):
    """``.aider.llm.history``: what went to the model, and when."""

    kind = "aider history of requests"

    def recognises(self, record: Record) -> bool:
        return SENT in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        head, *rows = str(record[SENT]).splitlines()
        start = _local(head.split()[-1])
        answered = next((i for i, row in enumerate(rows) if row.startswith(_ANSWERED)), len(rows))
        messages = list(_messages(rows[:answered]))
        if not messages:
            raise LogLineError("this request of aider's history holds no message")
        end = _local(rows[answered].split()[-1]) if answered < len(rows) else None
        wait = None if start is None or end is None else max(0.0, end - start)
        yield request_of({"messages": messages}, line, Around(kind=self.kind, time=start, first_token=wait))


class AiderChat(Stateless):
    """``.aider.chat.history.md``: one chat, of which a request is rebuilt for each answer."""

    kind = "aider chat history"

    def recognises(self, record: Record) -> bool:
        return CHAT in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        messages: list[dict[str, Any]] = []
        model, pending, at = "", None, line
        for number, row in enumerate(str(record[CHAT]).splitlines(), line):
            named = _MODEL.match(row)
            model = named[1] if named else model
            counted = _TOKENS.match(row)
            if row.startswith("#### "):
                _append(messages, "user", row[5:].removesuffix("  "))
            elif row.startswith(">"):
                if counted and pending is not None:
                    yield self._request(pending, at, model, counted)
                    pending = None
            elif row.startswith("# aider chat started") or (not row and (not messages or messages[-1]["role"] == "user")):
                continue
            elif messages:
                if messages[-1]["role"] == "user":
                    if pending is not None:
                        yield self._request(pending, at, model, None)
                    pending, at = [dict(message) for message in messages], number
                _append(messages, "assistant", row)
        if pending is not None:
            yield self._request(pending, at, model, None)

    def _request(
        self, messages: list[dict[str, Any]], line: int, model: str, counted: "re.Match[str] | None"
    ) -> LoggedRequest:
        usage = None
        if counted is not None:
            sent, written, hit = (_count(told) for told in counted.groups())
            usage = {
                "prompt_tokens": sent,
                "prompt_tokens_details": {"cached_tokens": hit, "cache_write_tokens": written},
            }
        return request_of({"model": model, "messages": messages}, line, Around(kind=self.kind, usage=usage))


def _messages(rows: list[str]) -> Iterator[dict[str, Any]]:
    """Messages of rows that begin with the role in capitals; a row of dashes stands before each."""
    role = ""
    texts: list[str] = []
    for row in [*rows, "-------"]:
        if row == "-------":
            if role:
                yield {"role": role, "content": "\n".join(texts)}
            role, texts = "", []
            continue
        name, _, text = row.partition(" ")
        if name.lower() in _ROLES and name.isupper() and role in ("", name.lower()):
            role = name.lower()
            texts.append(text)
        elif role:  # a line that aider did not begin with the role
            texts.append(row)


def _append(messages: list[dict[str, Any]], role: str, text: str) -> None:
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += "\n" + text
    else:
        messages.append({"role": role, "content": text})


def _count(told: str | None) -> int:
    """``2.3k`` as a number."""
    if not told:
        return 0
    scale = {"k": 1_000, "M": 1_000_000}.get(told[-1], 1)
    try:
        return round(float(told.rstrip("kM").replace(",", "")) * scale)
    except ValueError:
        return 0


def _local(told: str) -> float | None:
    """Aider writes local times without a zone; they are read as UTC, so only their differences are right."""
    return seconds(told)
