"""Results of promptfoo: a prompt each."""

from collections.abc import Iterable

from foreword.audit.readers.base import Record, Stateless
from foreword.audit.readers.conversation_forms import body_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import listed, mapping, opened
from foreword.audit.request import LoggedRequest


class Promptfoo(Stateless):
    """Results of promptfoo: the prompt of each result, a text or messages as JSON."""

    kind = "promptfoo results"

    def recognises(self, record: Record) -> bool:
        return "evalId" in record or ("prompt" in record and "vars" in record and "provider" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        results = record.get("results", record)
        rows = listed(mapping(results).get("results")) or ([record] if "prompt" in record else [])
        for row in map(mapping, rows):
            prompt = mapping(row.get("prompt")).get("raw") or row.get("prompt")
            body = body_of(opened(prompt))
            if body is None or mapping(row.get("response")).get("cached"):
                continue
            provider = row.get("provider")
            name = str(mapping(provider).get("id") or provider or "")
            told = mapping(mapping(row.get("response")).get("tokenUsage"))
            usage = {"prompt_tokens": told["prompt"]} if "prompt" in told else None
            yield request_of(body, line, Around(kind=self.kind, model=name.rsplit(":", 1)[-1], usage=usage))
