"""Claude Code's sessions: a line for each block of the conversation, in a tree; a request for each answer's id.

A line holds one block of an answer, and the answer's usage, which is final in its last line only. What was sent is rebuilt
from the lines that the answer hangs on. System prompt and tools are not in the file; nor are marks, which the client sets
at the end of each request.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from foreword.audit.readers.base import LogReader, Record
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import seconds
from foreword.audit.request import LoggedRequest

SESSIONS_KEPT = 8
NO_MODEL = "<synthetic>"
"""What stands for the model in an error's message that the client wrote itself."""
SPEAKERS = ("user", "assistant")
IDENTITY = ("uuid", "sessionId", "session_id", "leafUuid", "messageId", "parent_tool_use_id")


@dataclass
class _Line:
    role: str
    content: list[Any]
    answer: str
    time: float | None
    parent: str | None


@dataclass
class _Open:
    """An answer of which more lines may come."""

    answer: str
    line: int
    model: str
    upto: list[_Line]
    begun: float | None
    usage: Any = None


@dataclass
class _Session:
    lines: "OrderedDict[str, _Line]" = field(default_factory=OrderedDict)
    last: str | None = None
    open: _Open | None = None
    answered: set[str] = field(default_factory=set)


class ClaudeCode(LogReader):
    """Sessions of Claude Code (``~/.claude/projects``), and what ``claude --output-format stream-json`` prints."""

    kind = "Claude Code session"

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def recognises(self, record: Record) -> bool:
        kind = record.get("type")
        if not isinstance(kind, str) or not any(key in record for key in IDENTITY):
            return False
        return kind not in SPEAKERS or isinstance(record.get("message"), dict)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        name = f"{record.get('sessionId') or record.get('session_id')} {record.get('agentId') or record.get('isSidechain')}"
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = _Session()
            if len(self._sessions) > SESSIONS_KEPT:
                _, old = self._sessions.popitem(last=False)
                yield from _close(old)
        yield from _take(session, record, line)

    def finish(self) -> Iterable[LoggedRequest]:
        for session in self._sessions.values():
            yield from _close(session)
        self._sessions.clear()


def _take(session: _Session, record: Record, line: int) -> Iterator[LoggedRequest]:
    said = record.get("message")
    message = said if isinstance(said, dict) and record.get("type") in SPEAKERS else {}
    answer = str(message.get("id") or record.get("requestId") or "") if record.get("type") == "assistant" else ""
    if session.open is not None and record.get("type") in SPEAKERS and session.open.answer != answer:
        yield from _close(session)
    parent = record.get("parentUuid", session.last)
    own = _Line(
        role=str(message.get("role") or record.get("type") or "") if message else "",
        content=_blocks(message.get("content")),
        answer=answer,
        time=seconds(record.get("timestamp")),
        parent=parent if isinstance(parent, str) else None,
    )
    if answer and message.get("model") != NO_MODEL:
        if session.open is None and answer not in session.answered:
            upto = _before(session, own)
            session.open = _Open(answer, line, str(message.get("model") or ""), upto, own.time)
            session.answered.add(answer)
        if session.open is not None and isinstance(message.get("usage"), dict):
            session.open.usage = message["usage"]
    name = str(record.get("uuid") or f"line {line}")
    if message or "uuid" in record:
        session.lines[name] = own
        session.last = name


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [] if content is None else [{"type": "text", "text": content if isinstance(content, str) else str(content)}]


def _before(session: _Session, own: _Line) -> list[_Line]:
    """The lines that an answer hangs on, in the order of the file: its parents, the other blocks of the answers among
    them, and the results of the calls in those (calls made at once lie on branches of their own)."""
    chain: set[str] = set()
    at = own.parent
    while at is not None and at not in chain and at in session.lines:
        chain.add(at)
        at = session.lines[at].parent
    answers = {session.lines[name].answer for name in chain} - {""}
    calls = {
        block.get("id")
        for line in session.lines.values()
        if line.answer in answers
        for block in line.content
        if isinstance(block, dict) and block.get("type") == "tool_use"
    }
    return [
        line
        for name, line in session.lines.items()
        if line.content and (name in chain or line.answer in answers or _answers(line, calls))
    ]


def _answers(line: _Line, calls: set[Any]) -> bool:
    return any(isinstance(block, dict) and block.get("tool_use_id") in calls for block in line.content if calls)


def _close(session: _Session) -> Iterator[LoggedRequest]:
    """The request of the open answer, now that its last line is known."""
    done, session.open = session.open, None
    if done is None or not done.upto:
        return
    messages: list[dict[str, Any]] = []
    for line in done.upto:
        if messages and messages[-1]["role"] == line.role:
            messages[-1]["content"] = [*messages[-1]["content"], *line.content]
        else:
            messages.append({"role": line.role, "content": line.content})
    written = done.usage.get("cache_creation") if isinstance(done.usage, dict) else None
    long = isinstance(written, dict) and bool(written.get("ephemeral_1h_input_tokens"))
    body = {
        "model": done.model,
        "system": [],
        "messages": messages,
        "cache_control": {"type": "ephemeral", "ttl": "1h" if long else "5m"},
    }
    asked = done.upto[-1].time
    wait = None if asked is None or done.begun is None else max(0.0, done.begun - asked)
    around = Around(
        kind=ClaudeCode.kind,
        provider="anthropic",
        time=done.begun if asked is None else asked,
        first_token=wait,
        usage=done.usage,
    )
    yield request_of(body, done.line, around)
