"""Recorded HTTP: HAR of browsers and proxies, cassettes of vcr; a request for each exchange with a model in it."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.body import dialect
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import finite, listed, mapping, opened, seconds
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
            body = _posted(mapping(mapping(entry).get("request")))
            if body is not None:
                yield self._request(entry, body, line)

    def _request(self, entry: Record, body: Record, line: int) -> LoggedRequest:
        content = mapping(mapping(entry.get("response")).get("content"))
        answer = content.get("text")
        if content.get("encoding") == "base64" and isinstance(answer, str):
            answer = _decoded(answer)
        waited = finite(mapping(entry.get("timings")).get("wait"))
        took = waited if waited is not None and waited >= 0 else finite(entry.get("time"))
        around = Around(
            kind=self.kind,
            model=_model_of(str(mapping(entry.get("request")).get("url") or "")),
            time=seconds(entry.get("startedDateTime")),
            first_token=None if took is None else max(0.0, took / 1000),
            usage=usage_of_answer(answer),
        )
        return request_of(body, line, around)


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
            body = _posted(asked)
            if body is None:
                continue
            answer = mapping(exchange.get("response"))
            around = Around(
                kind=self.kind,
                model=_model_of(str(asked.get("uri") or "")),
                time=seconds(exchange.get("recorded_at")) or _date(answer.get("headers")),
                usage=usage_of_answer(_answer_body(answer)),
            )
            yield request_of(body, line, around)


def _posted(asked: Record) -> Record | None:
    """The body of a request to a model; None where something else was asked for."""
    body = asked.get("body", asked.get("parsed_body"))
    if isinstance(body, dict) and ("string" in body or "text" in body):
        body = body.get("string", body.get("text"))
    if "postData" in asked:
        body = mapping(asked["postData"]).get("text")
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    body = opened(body)
    if not isinstance(body, dict):
        return None
    return body if dialect(body) is not None else None


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


def _model_of(url: str) -> str:
    """The model that an address names (Gemini, Bedrock, Azure): what stands behind models, model or deployments."""
    parts = url.split("?", 1)[0].split("/")
    for before, name in pairwise(parts):
        if before in ("models", "model", "deployments"):
            return name.split(":generateContent")[0].split(":streamGenerateContent")[0].replace("%3A", ":")
    return ""


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise LogLineError("the answer says that it is base64 and is not") from None
