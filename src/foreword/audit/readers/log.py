"""A pass over a log of any kinds: each record goes to the first reader that knows it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from foreword.audit.readers.aider import AiderChat, AiderSent
from foreword.audit.readers.base import LogLineError, LogReader, Record
from foreword.audit.readers.batch import BatchAnswers, BatchInput, BatchOutput, answers_alone
from foreword.audit.readers.bedrock_invocations import BedrockInvocations
from foreword.audit.readers.carried import carried
from foreword.audit.readers.cassette import Cassette
from foreword.audit.readers.claude_code import ClaudeCode
from foreword.audit.readers.codex import Codex
from foreword.audit.readers.codex_early import EarlyCodex
from foreword.audit.readers.documents import Documents, Located
from foreword.audit.readers.envelope import TIME_KEYS, Bodies, holds_body
from foreword.audit.readers.gemini_cli import GeminiCli
from foreword.audit.readers.har import Har
from foreword.audit.readers.inspect_log import Inspect
from foreword.audit.readers.langfuse import Langfuse
from foreword.audit.readers.langsmith import LangSmith
from foreword.audit.readers.litellm_spend import LiteLlmSpend
from foreword.audit.readers.message_lists import MessageLists
from foreword.audit.readers.openhands import OpenHands
from foreword.audit.readers.otel import GenAiSpans
from foreword.audit.readers.promptfoo import Promptfoo
from foreword.audit.readers.response_chains import ResponseChains
from foreword.audit.readers.server_log import ServerLog
from foreword.audit.readers.swe_agent import SweAgent
from foreword.audit.readers.unread import KnownUnread
from foreword.audit.request import LoggedRequest

BROKEN_KEPT = 20


def all_readers(answers: BatchAnswers) -> list[LogReader]:
    """A reader of each kind, for one pass; the bodies, which take anything, come last."""
    return [
        BatchInput(answers),
        BatchOutput(answers),
        ServerLog(),
        ClaudeCode(),
        Codex(),
        EarlyCodex(),
        AiderSent(),
        AiderChat(),
        GeminiCli(),
        Har(),
        Cassette(),
        LiteLlmSpend(),
        BedrockInvocations(),
        Langfuse(),
        LangSmith(),
        GenAiSpans(),
        OpenHands(),
        SweAgent(),
        Inspect(),
        Promptfoo(),
        ResponseChains(),
        KnownUnread(),
        MessageLists(),
        Bodies(),
    ]


@dataclass
class ReadKind:
    """How many requests, and records without one, a log holds of a kind."""

    requests: int = 0
    without: int = 0


@dataclass
class LogPass:
    """One reading of a log, and what was found in it. ``longest``: characters of a record that goes over several lines."""

    answers: BatchAnswers
    longest: int
    kinds: dict[str, ReadKind] = field(default_factory=dict)
    broken: list[tuple[int, str]] = field(default_factory=list)
    broken_lines: int = 0
    foreign_lines: int = 0
    lines: int = 0

    def requests(self, source: Iterable[bytes | str]) -> Iterator[LoggedRequest]:
        """The requests of a log; what holds none is counted, and the first of it kept with the reason."""
        readers = all_readers(self.answers)
        documents = Documents(self.longest)
        for located in documents.read(source):
            self.lines = documents.lines
            self.foreign_lines += located.foreign and located.record is not None
            if located.begins:
                yield from self._ends(readers, located.line)
            if located.record is None:
                self._refuse(located.line, str(located.error))
                continue
            yield from self._read(readers, located, located.record)
        self.lines = documents.lines
        yield from self._ends(readers, documents.lines)
        output = self.kinds.get(BatchOutput.kind)
        if output is not None and self.answers.unasked:
            self._refuse(1, str(answers_alone()))

    def _read(self, readers: list[LogReader], located: Located, record: Record) -> Iterator[LoggedRequest]:
        reader = next(reader for reader in readers if reader.recognises(record))
        found = False
        try:
            inner = [] if reader is not readers[-1] or holds_body(record) else carried(record, TIME_KEYS)
            for one in inner:
                yield from self._read(readers, located, one)
            if inner:
                return
            for request in reader.read(record, located.line):
                found = True
                yield self._counted(request)
        except LogLineError as error:
            self._refuse(located.line, str(error))
            return
        except RecursionError:
            self._refuse(located.line, "the JSON is nested too deeply")
            return
        if not found:
            self.kinds.setdefault(reader.kind, ReadKind()).without += 1

    def _ends(self, readers: list[LogReader], line: int) -> Iterator[LoggedRequest]:
        """A file or a list has ended: what readers have held back comes now."""
        for reader in readers:
            try:
                for request in reader.finish():
                    yield self._counted(request)
            except LogLineError as error:
                self._refuse(line, str(error))

    def _counted(self, request: LoggedRequest) -> LoggedRequest:
        self.kinds.setdefault(request.kind, ReadKind()).requests += 1
        return request

    def _refuse(self, line: int, reason: str) -> None:
        self.broken_lines += 1
        if len(self.broken) < BROKEN_KEPT:
            self.broken.append((line, reason))
