"""The lines that ``foreword serve`` writes, one JSON object a request: counts, and with --log-prompts the prompt's text.

    {"event": "request", "request_id": "...", "model": "...", "tenant": "acme", "prompt_tokens": 210, "cached": 180,
     "computed": 30, ..., "miss_reason": "diverged", "output_tokens": 12, "seconds": 0.4,
     "timestamp": "2026-01-01T00:00:00Z", "prompt": "..."}

What else the server says (that it is up, what failed) has no request in it. The prompt is what the model read, so it is cut
into messages at the signs that chat templates write.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from foreword.account import Source
from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.values import finite, seconds
from foreword.audit.request import MESSAGE, SYSTEM, LoggedPiece, LoggedRequest, ReportedUsage
from foreword.audit.text_diff import encodable
from foreword.prompt.chat import SYSTEM_ROLES

NO_PROMPT = "a line of foreword serve without the prompt's text, which has its figures only: serve with --log-prompts"
EVENTS = frozenset(
    {
        "serving",
        "tokenizer",
        "few connections",
        "failure",
        "not used",
        "an answer could not be read",
        "requests are missing in the trace",
        "the trace cannot be written",
        "signal ignored",
        "API keys kept",
        "API keys read again",
        "operator without a key",
        "lines were dropped",
        "kv events",
        "kv events: a request that is none",
        "kv events: who asked for them does not read",
        "kv events are not published any more",
    }
)
"""What the server says beside its requests, in the words of its lines; numbers in front do not count."""
ENGINE = "foreword"
"""Who says what the engine, its stores and its backend say there."""
TURN = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|(?=(?:system|user|assistant|tool)\|>)|\[(?=INST\])"
)
"""Where a message begins, in the forms of the common chat templates; its role comes next."""
ROLE = re.compile(r"\w+")


class ServerLog(Stateless):
    """Requests as ``foreword serve`` logs them."""

    kind = "log of foreword serve"

    def recognises(self, record: Record) -> bool:
        """See LogReader."""
        said = "level" in record and (_event(record) in EVENTS or record.get("logger") == ENGINE)
        return said or _is_request(record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        """See LogReader. LogLineError where a request's line has not the prompt's text."""
        if not _is_request(record):
            return
        text = record.get("prompt")
        if not isinstance(text, str) or not text:
            raise LogLineError(NO_PROMPT)
        end, took = seconds(record.get("timestamp")), max(0.0, finite(record.get("seconds")) or 0.0)
        yield LoggedRequest(
            line=line,
            provider="foreword",
            model=encodable(str(record.get("model") or "")),
            pieces=tuple(server_pieces(text)),
            time=None if end is None else end - took,
            first_token=0.0,  # what is being computed is shared at once
            scope=encodable(str(record.get("tenant") or "")),
            usage=server_usage(record),
            kind=self.kind,
        )


def _is_request(record: Record) -> bool:
    return record.get("event") == "request" and "request_id" in record and "outcome" in record


def _event(record: Record) -> str:
    event = record.get("event")
    return event.lstrip("0123456789 ") if isinstance(event, str) else ""


def server_pieces(text: str) -> Iterator[LoggedPiece]:
    """A rendered prompt, message by message; what stands before the first is a message without a role."""
    starts = [found.start() for found in TURN.finditer(text)]
    cuts = [0, *(start for start in starts if start), len(text)]
    number, systems = 0, 0
    for begin, end in pairwise(cuts):
        part = text[begin:end]
        found = TURN.match(part)
        named = ROLE.match(part, found.end()) if found else None
        role = "" if named is None else {"INST": "user"}.get(named[0], named[0])
        if role in SYSTEM_ROLES and number == 0:
            yield LoggedPiece(SYSTEM, "text", "", 0, systems, encodable(part))
            systems += 1
        elif part:
            yield LoggedPiece(MESSAGE, "text", role, number, 0, encodable(part))
            number += 1


def server_usage(record: Mapping[str, Any]) -> ReportedUsage | None:
    """The prompt's tokens by what the server says of them; None for a request that was not computed."""
    prompt = finite(record.get("prompt_tokens"))
    if prompt is None:
        return None
    return ReportedUsage(max(0, int(prompt)), max(0, int(finite(record.get("cached")) or 0)))


@dataclass
class ServerFigures:
    """What lines without prompts tell: counts of tokens by source, and of requests by where their hit ended."""

    requests: int = 0
    prompt_tokens: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> "ServerFigures":
        """The sums over all records that are requests of a server."""
        figures = cls()
        for record in records:
            usage = server_usage(record) if _is_request(record) else None
            if usage is not None:
                figures.requests += 1
                figures.prompt_tokens += usage.prompt
                figures.sources.update({name: max(0, int(finite(record.get(name)) or 0)) for name in map(str, Source)})
                figures.reasons[encodable(str(record.get("miss_reason")))] += 1
        return figures
