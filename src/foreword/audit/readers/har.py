"""HAR of browsers and proxies: a request for each exchange with a model in it."""

from collections.abc import Iterable

from foreword.audit.readers.base import Record, Stateless
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.exchanges import model_of, posted
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import finite, listed, mapping, seconds, unpacked
from foreword.audit.request import LoggedRequest


class Har(Stateless):
    """HAR files, whole or an entry a line."""

    kind = "HAR"

    def recognises(self, record: Record) -> bool:
        return isinstance(mapping(record.get("log")).get("entries"), list) or (
            "startedDateTime" in record and isinstance(record.get("request"), dict)
        )

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        whole = "log" in record
        entries = listed(mapping(record.get("log")).get("entries")) if whole else [record]
        for entry in entries:
            body = posted(mapping(mapping(entry).get("request")))
            if body is not None:
                yield self._request(entry, body, line)

    def _request(self, entry: Record, body: Record, line: int) -> LoggedRequest:
        content = mapping(mapping(entry.get("response")).get("content"))
        answer = content.get("text")
        if content.get("encoding") == "base64" and isinstance(answer, str):
            answer = unpacked(answer)
        waited = finite(mapping(entry.get("timings")).get("wait"))
        took = waited if waited is not None and waited >= 0 else finite(entry.get("time"))
        around = Around(
            kind=self.kind,
            model=model_of(str(mapping(entry.get("request")).get("url") or "")),
            time=seconds(entry.get("startedDateTime")),
            first_token=None if took is None else max(0.0, took / 1000),
            usage=usage_of_answer(answer),
        )
        return request_of(body, line, around)
