"""Logs of inspect: each call of a model is an event of a sample."""

from collections.abc import Iterable, Iterator

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.conversation_forms import body_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.histories import requests_of
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import listed, mapping, seconds
from foreword.audit.request import LoggedRequest


class Inspect(Stateless):
    """Logs of inspect in JSON: each call of a model is an event of a sample."""

    kind = "inspect log"

    def recognises(self, record: Record) -> bool:
        return ("eval" in record and "samples" in record) or (record.get("event") == "model" and "input" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        if "samples" not in record:
            yield from self._event(record, line)
            return
        model = str(mapping(record.get("eval")).get("model") or "")
        for sample in map(mapping, listed(record.get("samples"))):
            events = [e for e in map(mapping, listed(sample.get("events"))) if e.get("event") == "model"]
            for event in events:
                yield from self._event(event, line)
            if not events:
                yield from requests_of(listed(sample.get("messages")), line, self.kind, model)

    def _event(self, event: Record, line: int) -> Iterator[LoggedRequest]:
        asked = mapping(event.get("call")).get("request")
        body = body_of(mapping(asked)) or body_of(event.get("input"))
        if body is None:
            raise LogLineError("the inspect event holds no messages")
        if "tools" not in body and listed(event.get("tools")):
            body["tools"] = [{"type": "function", "function": tool} for tool in listed(event.get("tools"))]
        usage = mapping(usage_of_answer(event.get("output")))
        told = {
            "input_tokens": usage.get("input_tokens"),
            "input_tokens_details": {
                "cached_tokens": usage.get("input_tokens_cache_read"),
                "cache_write_tokens": usage.get("input_tokens_cache_write"),
            },
        }
        model = str(event.get("model") or "")
        around = Around(kind=self.kind, model=model, time=seconds(event.get("timestamp")), usage=told if usage else None)
        yield request_of({**body, "model": model}, line, around)
