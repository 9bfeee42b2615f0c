"""Batches of OpenAI and Anthropic: requests in one file, answers in another; ``custom_id`` joins them. Half the price."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.envelope import read_record
from foreword.audit.readers.usage import read_usage, usage_of_answer
from foreword.audit.readers.values import listed, mapping, seconds
from foreword.audit.request import LoggedRequest, ReportedUsage

ANSWERS_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class _Answer:
    usage: ReportedUsage | None
    time: float | None


class BatchAnswers:
    """The answers of batches by their requests' ids. It is kept over all passes: answers may stand behind the requests."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._asked: set[str] = set()
        self.late = False

    def asked(self, name: str) -> _Answer | None:
        """The answer to a request, if it is known by now."""
        if len(self._asked) < ANSWERS_KEPT:
            self._asked.add(name)
        return self._answers.get(name)

    def add(self, name: str, answer: _Answer) -> None:
        """Keep an answer; ``late`` if its request was read before."""
        if name not in self._answers and len(self._answers) < ANSWERS_KEPT:
            self._answers[name] = answer
            self.late = self.late or name in self._asked

    @property
    def unasked(self) -> int:
        """Answers whose requests were not in the log."""
        return sum(name not in self._asked for name in self._answers)


class BatchInput(Stateless):
    """The requests of a batch."""

    kind = "batch input"

    def __init__(self, answers: BatchAnswers):
        self._answers = answers

    def recognises(self, record: Record) -> bool:
        return ("custom_id" in record and ("params" in record or "body" in record)) or bool(_within(record))

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        for one in _within(record) or [record]:
            yield self._request(one, line)

    def _request(self, record: Record, line: int) -> LoggedRequest:
        request = replace(read_record(record, line, self.kind), batch=True)
        answer = self._answers.asked(str(record["custom_id"]))
        if answer is None:
            return request
        return replace(request, usage=request.usage or answer.usage, time=answer.time or request.time)


def _within(record: Record) -> list[Record]:
    """The requests of a batch that is written as it is sent to Anthropic: ``{"requests": [...]}``."""
    return [one for one in listed(record.get("requests")) if "params" in mapping(one) and "custom_id" in one]


class BatchOutput(Stateless):
    """The answers of a batch: no requests, but their usage and times."""

    kind = "batch output"

    def __init__(self, answers: BatchAnswers):
        self._answers = answers

    def recognises(self, record: Record) -> bool:
        return "custom_id" in record and ("response" in record or "result" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:  # noqa: ARG002 (the protocol's)
        answer: Any = record.get("response") or record.get("result")
        body = mapping(answer.get("body") if isinstance(answer, dict) else None)
        told = _Answer(read_usage(usage_of_answer(answer)), seconds(body.get("created") or body.get("created_at")))
        self._answers.add(str(record["custom_id"]), told)
        return ()


def answers_alone() -> LogLineError:
    """What to say of a log that holds nothing but answers."""
    return LogLineError("this is a batch output: it holds answers only; give the batch input with it, both as LOG")
