"""Langfuse's generations: rows of an export, events of the ingestion API, or whole traces."""

from collections.abc import Iterable
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.conversation_forms import body_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.values import first, listed, mapping, opened, seconds
from foreword.audit.request import LoggedRequest

GENERATION = ("GENERATION", "generation-create", "generation-update")
OTHER = (
    *("SPAN", "EVENT", "AGENT", "TOOL", "CHAIN"),
    *("trace-create", "span-create", "span-update", "event-create", "score-create"),
)


class Langfuse(Stateless):
    """Generations that Langfuse has observed; other observations hold no request."""

    kind = "Langfuse"

    def recognises(self, record: Record) -> bool:
        if record.get("type") in (*GENERATION, *OTHER) and ("body" in record or "input" in record or "traceId" in record):
            return True
        return isinstance(record.get("observations"), list)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        if "observations" in record:
            for one in record["observations"]:
                if isinstance(one, dict) and one.get("type") in GENERATION:
                    yield self._request(one, line)
        elif record["type"] in GENERATION:
            yield self._request(mapping(record.get("body")) or record, line)

    def _request(self, row: Record, line: int) -> LoggedRequest:
        body = body_of(opened(row.get("input")))
        if body is None:
            raise LogLineError("the generation holds no messages (its input was not traced)")
        start = seconds(first(row, ("startTime", "start_time")))
        end = seconds(first(row, ("completionStartTime", "completion_start_time", "endTime", "end_time")))
        around = Around(
            kind=self.kind,
            model=str(first(row, ("model", "providedModelName", "internalModelId")) or ""),
            time=start,
            first_token=None if start is None or end is None else max(0.0, end - start),
            user=row["userId"] if isinstance(row.get("userId"), str) else None,
            usage=_usage(row),
        )
        options = mapping(row.get("modelParameters"))
        tools = listed(options.get("tools"))
        return request_of({**({"tools": tools} if tools else {}), **body}, line, around)


def _usage(row: Record) -> Any:
    """Its usage counts cached tokens beside ``input``; the whole prompt is the sum of all that begins with input."""
    details = mapping(first(row, ("usageDetails", "usage_details", "usage")))
    if "input" not in details:
        return details or None
    if any(key.startswith("cache_") for key in details):
        return details
    parts = [value for key, value in details.items() if key.startswith("input") and isinstance(value, int | float)]
    return {
        "prompt_tokens": sum(parts),
        "prompt_tokens_details": {"cached_tokens": first(details, ("input_cached_tokens", "input_cache_read"))},
    }
