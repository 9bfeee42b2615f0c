"""OpenAI responses that go on from an earlier one by its id: the prompt is that one's input and output, and what is new."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from foreword.audit.readers.base import Record, Stateless
from foreword.audit.readers.envelope import ANSWER_KEYS, around_of, body_within, request_of
from foreword.audit.readers.values import listed, mapping
from foreword.audit.request import LoggedRequest

RESPONSES_KEPT = 2_000


class ResponseChains(Stateless):
    """Requests and answers of the responses API, rebuilt where ``previous_response_id`` names an answer in the log."""

    kind = "OpenAI responses"

    def __init__(self) -> None:
        self._said: OrderedDict[str, list[Any]] = OrderedDict()  # all items up to the end of an answer, by its id

    def recognises(self, record: Record) -> bool:
        """See LogReader."""
        return any(str(mapping(record.get(key)).get("id")).startswith("resp_") for key in ANSWER_KEYS)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        """See LogReader."""
        body, holder = body_within(record)
        answer = next(mapping(record[key]) for key in ANSWER_KEYS if "id" in mapping(record.get(key)))
        before, kind = body.get("previous_response_id"), self.kind
        if before is not None and before not in self._said:
            kind = f"{self.kind} that go on from one that is not in the log"
        given = body.get("input")
        own = [{"role": "user", "content": given}] if isinstance(given, str) else listed(given)
        items = [*self._said.get(str(before), ()), *own]
        self._said[str(answer["id"])] = [*items, *listed(answer.get("output"))]
        if len(self._said) > RESPONSES_KEPT:
            self._said.popitem(last=False)
        yield request_of({**body, "input": items} if before else body, line, around_of(record, body, holder, kind))
