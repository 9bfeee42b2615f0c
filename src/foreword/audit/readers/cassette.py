"""Cassettes of vcr: a request for each exchange with a model in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from foreword.audit.readers.base import Record, Stateless
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.exchanges import model_of, posted
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import mapping, seconds
from foreword.audit.request import LoggedRequest


class Cassette(Stateless):
    """Cassettes of vcr (in JSON or YAML), whole or an exchange at a time."""

    kind = "HTTP cassette"

    def recognises(self, record: Record) -> bool:
        asked = record.get("request")
        one = isinstance(asked, dict) and "uri" in asked and "response" in record
        return one or ("interactions" in record and isinstance(record["interactions"], list))

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        for exchange in record.get("interactions", [record]):
            asked = mapping(mapping(exchange).get("request"))
            body = posted(asked)
            if body is None:
                continue
            answer = mapping(exchange.get("response"))
            around = Around(
                kind=self.kind,
                model=model_of(str(asked.get("uri") or "")),
                time=seconds(exchange.get("recorded_at")) or _date(answer.get("headers")),
                usage=usage_of_answer(_answer_body(answer)),
            )
            yield request_of(body, line, around)


def _answer_body(answer: Record) -> Any:
    body = answer.get("body", answer.get("parsed_body"))
    if isinstance(body, dict) and "string" in body:
        body = body["string"]
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body


def _date(headers: Any) -> float | None:
    """The time of an answer by its headers, whose values may be lists."""
    for name, value in headers.items() if isinstance(headers, Mapping) else ():
        if str(name).lower() == "date":
            return seconds(value[0] if isinstance(value, list) and value else value)
    return None
