"""Spans of OpenTelemetry's conventions for generative AI, as SDKs print them or as OTLP in JSON, with their contents."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.conversation_forms import body_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import first, listed, mapping, opened, seconds
from foreword.audit.request import LoggedRequest

_SPEAKER = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message$")
MODEL_OPERATIONS = ("chat", "generate_content", "text_completion", "")
FLAT = "attributes.llm."
"""What begins the columns of a table of spans, as Phoenix exports it."""
_INDEXED = re.compile(r"(?:gen_ai\.prompt|llm\.input_messages)\.(\d+)\.(?:message\.)?(role|content|tool_call_id)$")
USAGE = (
    ("prompt_tokens", ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")),
    (
        "cached",
        (
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "llm.token_count.prompt_details.cache_read",
            "ai.usage.cachedInputTokens",
        ),
    ),
    (
        "written",
        (
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "llm.token_count.prompt_details.cache_write",
        ),
    ),
)


class GenAiSpans(Stateless):
    """Spans of calls to models; spans of tools, agents and all else hold no request."""

    kind = "OpenTelemetry GenAI spans"

    def recognises(self, record: Record) -> bool:
        if "resourceSpans" in record or "scopeSpans" in record:
            return True
        attributes = record.get("attributes")
        if any(key.startswith(FLAT) for key in record):
            return True
        return isinstance(attributes, dict | list) and ("name" in record or "spanId" in record or "context" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        for span in _spans(record):
            told = _attributes(span)
            if not any(key.startswith(("gen_ai.", "llm.")) for key in told):
                continue
            if str(told.get("gen_ai.operation.name") or "") in MODEL_OPERATIONS:
                yield self._request(span, told, line)

    def _request(self, span: Record, told: dict[str, Any], line: int) -> LoggedRequest:
        messages = _messages(told) or _messages(_event_attributes(span)) or list(_said_in_events(span))
        if not messages:
            raise LogLineError(
                "the span holds no contents; set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true where it is made"
            )
        system = listed(told.get("gen_ai.system_instructions"))
        if system:
            messages.insert(0, {"role": "system", "parts": system})
        body = body_of(messages)
        if body is None:
            raise LogLineError("the span's messages have no roles")
        tools = listed(told.get("gen_ai.tool.definitions"))
        start = seconds(first(span, ("start_time", "startTimeUnixNano", "startTime")))
        end = seconds(first(span, ("end_time", "endTimeUnixNano", "endTime")))
        around = Around(
            kind=self.kind,
            model=str(first(told, ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name")) or ""),
            provider=str(first(told, ("gen_ai.provider.name", "gen_ai.system")) or ""),
            time=start,
            first_token=None if start is None or end is None else max(0.0, end - start),
            usage=_usage(told),
        )
        return request_of({**body, **({"tools": tools} if tools else {})}, line, around)


def _spans(record: Record) -> Iterator[Record]:
    if "resourceSpans" not in record and "scopeSpans" not in record:
        yield record
        return
    for resource in listed(record.get("resourceSpans")) or [record]:
        for scope in listed(mapping(resource).get("scopeSpans")):
            for span in listed(mapping(scope).get("spans")):
                if isinstance(span, dict):
                    yield span


def _attributes(holder: Record) -> dict[str, Any]:
    """Attributes as a plain object; OTLP writes them as a list of keys and typed values."""
    given = holder.get("attributes")
    if given is None:
        given = {key.removeprefix("attributes."): value for key, value in holder.items() if key.startswith("attributes.")}
    if isinstance(given, list):
        return {str(one.get("key")): _plain(one.get("value")) for one in given if isinstance(one, dict)}
    return dict(given) if isinstance(given, dict) else {}


def _plain(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "intValue":
        return int(inner) if str(inner).lstrip("-").isdigit() else None
    if kind == "arrayValue":
        return [_plain(one) for one in listed(mapping(inner).get("values"))]
    if kind == "kvlistValue":
        return _attributes({"attributes": mapping(inner).get("values")})
    return inner


def _messages(told: dict[str, Any]) -> list[Any]:
    for key in ("gen_ai.input.messages", "gen_ai.prompt", "ai.prompt.messages", "ai.prompt", "input.value"):
        given = opened(told.get(key))
        given = given.get("messages") if isinstance(given, dict) else given
        if isinstance(given, list) and given:
            return list(given)
    rows = listed(told.get("llm.input_messages"))
    if rows:
        return [{key.removeprefix("message."): value for key, value in mapping(row).items()} for row in rows]
    found: dict[int, dict[str, Any]] = {}
    for name, value in told.items():
        match = _INDEXED.match(name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [found[i] for i in sorted(found)]


def _said_in_events(span: Record) -> Iterator[dict[str, Any]]:
    """Messages that are told as an event each: ``gen_ai.user.message``."""
    for event in listed(span.get("events")):
        speaker = _SPEAKER.match(str(mapping(event).get("name")))
        if speaker:
            told = _attributes(mapping(event)) | dict(mapping(mapping(event).get("body")))
            yield {"role": speaker[1], **told}


def _event_attributes(span: Record) -> dict[str, Any]:
    """The attributes of all events of a span: where contents are told as events."""
    told: dict[str, Any] = {}
    for event in listed(span.get("events")):
        told |= _attributes(mapping(event))
    return told


def _usage(told: dict[str, Any]) -> Any:
    found = {name: first(told, keys) for name, keys in USAGE}
    if found["prompt_tokens"] is None:
        return None
    details = {"cached_tokens": found["cached"], "cache_write_tokens": found["written"]}
    return {"prompt_tokens": found["prompt_tokens"], "prompt_tokens_details": details}
