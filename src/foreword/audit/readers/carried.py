"""Records within a record: what collectors of logs put around a line, and answers of an API that hold a list of records.

{"log": "{...}", "stream": "stdout", "time": "2026-01-01T00:00:00Z"}    Docker; others say message or line
{"jsonPayload": {"request": {...}}, "timestamp": "..."}                 Google's logs; Elastic's say _source
{"data": [{"request": {...}}, ...], "next": null}                       an export, page by page
"""

from collections.abc import Mapping

from foreword.audit.readers.base import Record
from foreword.audit.readers.values import first, mapping

TEXTS = ("log", "message", "MESSAGE", "@message", "msg", "line", "textPayload")
OBJECTS = ("jsonPayload", "_source", "data", "payload", "attributes", "event")
LISTS = ("data", "logs", "items", "records", "results", "entries", "requests", "rows", "hits")


def carried(record: Record, time_keys: tuple[str, ...]) -> list[Record]:
    """The records that a record carries, with its time where they have none; an empty list where it carries none."""
    for key in LISTS:
        held = record.get(key)
        held = held.get(key) if isinstance(held, dict) else held  # Elastic's hits are in hits
        if isinstance(held, list) and held and all(isinstance(one, dict) for one in held):
            return held
    for key in (*TEXTS, *OBJECTS):
        value = record.get(key)
        inner = mapping(value)
        if inner and (isinstance(value, str) or key in OBJECTS):
            return [_timed(inner, record, time_keys)]
    return []


def _timed(inner: Mapping[str, object], record: Record, keys: tuple[str, ...]) -> Record:
    time = first(record, (*keys, "@timestamp", "__REALTIME_TIMESTAMP"))
    if time is None or first(inner, keys) is not None:
        return dict(inner)
    return {**inner, "timestamp": time}
