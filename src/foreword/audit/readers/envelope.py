"""Around the body: which line is a request, and what its wrapper knows (time, user, model, usage).

Foreword's own log is one JSON object a line:

    {"ts": 1767225600.0, "id": "req-1", "provider": "openai", "tenant": "acme", "user": "u7", "duration": 1.8,
     "request": {...the body as sent...}, "response": {"usage": {...}}}

Only ``request`` must be there. ``ts`` is in seconds since 1970 or ISO 8601; ``first_token`` or ``duration`` is in seconds.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from foreword.audit.readers.body import dialect, lifetime, marked_only, read_pieces
from foreword.audit.readers.usage import finite, read_usage
from foreword.audit.request import LoggedRequest
from foreword.audit.text_diff import encodable
from foreword.errors import InputError

Record = Mapping[str, Any]

BODY_KEYS = ("request", "body", "params", "request_body", "input_body")
TIME_KEYS = ("ts", "timestamp", "time", "startTime", "start_time", "created_at", "created", "date")
USER_KEYS = ("user", "user_id", "safety_identifier", "end_user")
IGNORE_KEY = "foreword_ignore"
LONGEST_KEY = 40
"""Characters of a key that are shown, of a line that is no request."""
VENDORS = {"chat": "openai", "responses": "openai", "anthropic": "anthropic"}


class LogLineError(InputError):
    """A line of a log that holds no request; the message says why."""


def parse_line(line: bytes | str) -> tuple[Record, bool]:
    """The JSON object of a line, and whether its bytes were not UTF-8 (then they are read as Windows-1252)."""
    foreign = False
    if isinstance(line, bytes):
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError:
            text, foreign = line.decode("cp1252", "replace"), True
    else:
        text = line.lstrip("\ufeff")
    try:
        record = json.loads(text)
    except RecursionError:
        raise LogLineError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise LogLineError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise LogLineError(f"a JSON {type(record).__name__}, not an object")
    return record, foreign


def read_record(record: Record, line: int) -> LoggedRequest:
    """The request of a record; LogLineError when there is none."""
    body = _body(record)
    form = dialect(body)
    if form is None:
        keys = encodable(", ".join(key[:LONGEST_KEY] for key in sorted(map(str, body))[:8]))
        raise LogLineError(f"no request body that is known; its keys are {keys or 'none'}")
    model = encodable(str(body.get("model") or record.get("model") or ""))
    pieces = read_pieces(body, form)
    if not pieces:
        raise LogLineError("the request has no prompt: no tools, no system, no messages")
    response = record.get("response")
    provider = str(record.get("provider") or record.get("custom_llm_provider") or VENDORS[form])
    start = _seconds(next((record[key] for key in TIME_KEYS if key in record), None))
    return LoggedRequest(
        line=line,
        provider=provider,
        model=model,
        pieces=pieces,
        time=start,
        first_token=_first_token(record, start),
        user=_user(record, body),
        scope="\n".join(str(value) for value in (record.get("tenant"), body.get("cache_salt")) if value),
        marked_only=marked_only(body, form, model, provider),
        lifetime=lifetime(body),
        usage=read_usage(_usage(record, response)),
        ignored=_ignored(record, body),
    )


def _body(record: Record) -> Record:
    for key in BODY_KEYS:
        inner = record.get(key)
        if isinstance(inner, str) and inner.startswith("{"):
            inner, _ = parse_line(inner)
        if isinstance(inner, dict) and ("messages" in inner or "input" in inner):
            return inner
    parameters = record.get("model_parameters")
    if isinstance(parameters, dict):  # LiteLLM: the body in two halves
        inner = record.get("messages")
        return {**parameters, "messages": inner, "model": record.get("model")}
    return record


def _usage(record: Record, response: Any) -> Any:
    if isinstance(response, dict):
        for holder in (response, response.get("body"), response.get("message")):
            if isinstance(holder, dict) and "usage" in holder:
                return holder["usage"]
    return record.get("usage")


def _user(record: Record, body: Record) -> str | None:
    """Who asked, as far as the log says: it tells values of a user from values of a moment."""
    for holder in (record, body, record.get("metadata"), body.get("metadata")):
        if isinstance(holder, dict):
            for key in USER_KEYS:
                if isinstance(holder.get(key), str) and holder[key]:
                    return str(holder[key])
    return None


def _ignored(record: Record, body: Record) -> tuple[str, ...]:
    """Rules and groups that the request asks not to be told: ``foreword_ignore`` in its metadata or beside its body."""
    for holder in (record, record.get("metadata"), body.get("metadata")):
        if isinstance(holder, dict) and holder.get(IGNORE_KEY):
            asked = holder[IGNORE_KEY]
            codes = asked.replace(",", " ").split() if isinstance(asked, str) else asked
            return tuple(str(code) for code in codes if code) if isinstance(codes, list) else ()
    return ()


def _first_token(record: Record, start: float | None) -> float | None:
    """Seconds from the request to its first token, else to its end."""
    for key in ("first_token", "ttft", "duration"):
        seconds = finite(record.get(key))
        if seconds is not None:
            return max(0.0, seconds)
    for key in ("completionStartTime", "completion_start_time", "endTime", "end_time"):
        end = _seconds(record.get(key))
        if end is not None and start is not None:
            return max(0.0, end - start)
    return None


def _seconds(value: Any) -> float | None:
    """Seconds since 1970 from a number (seconds, milli-, micro- or nanoseconds) or an ISO 8601 text; None outside the
    calendar."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                moment = datetime.fromisoformat(value)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
            except (ValueError, OverflowError):
                return None
    seconds = finite(value)
    if seconds is None:
        return None
    while abs(seconds) >= 1e11:
        seconds /= 1000
    try:
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return seconds
