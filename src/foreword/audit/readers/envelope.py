"""A request's body with what stands around it (time, user, model, usage), whatever the wrapper.

Foreword's own log is one JSON object a line:

    {"ts": 1767225600.0, "id": "req-1", "provider": "openai", "tenant": "acme", "user": "u7", "duration": 1.8,
     "request": {...the body as sent...}, "response": {"usage": {...}}}

Only ``request`` must be there. ``ts`` is in seconds since 1970 or ISO 8601; ``first_token`` or ``duration`` is in seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.body import KINDS, dialect, lifetime, marked_only, missing_role, read_pieces
from foreword.audit.readers.exchanges import model_of
from foreword.audit.readers.usage import read_usage, usage_of_answer
from foreword.audit.readers.values import finite, first, mapping, opened, seconds, unpacked
from foreword.audit.request import LoggedRequest
from foreword.audit.text_diff import encodable

BODY_KEYS = (
    "request",
    "body",
    "params",
    "request_body",
    "input_body",
    "json",
    "payload",
    "full_request",
    "inputs",
    "kwargs",
    "requestBody",
    "rawRequest",
    "input",
    "req",
)
TIME_KEYS = (
    "ts",
    "timestamp",
    "time",
    "startTime",
    "start_time",
    "request_created_at",
    "created_at",
    "created",
    "date",
    "started_at",
    "logging_time",
)
FIRST_TOKEN_KEYS = ("completionStartTime", "completion_start_time", "first_token_time")
END_KEYS = ("endTime", "end_time", "response_created_at", "completed_at", "ended_at")
ANSWER_KEYS = (
    "response",
    "response_body",
    "responseBody",
    "rawResponse",
    "full_response",
    "output",
    "answer",
    "res",
    "chunks",
    "events",
)
DEPLOYMENT_KEYS = ("model_id", "deployment", "deployment_id", "api_base")
URL_KEYS = ("url", "uri", "request_path", "path", "endpoint")
USER_KEYS = ("user", "user_id", "safety_identifier", "end_user")
IGNORE_KEY = "foreword_ignore"
BASE64_OBJECT = ("eyJ", "H4sI")
"""What an object of JSON begins with in base64, as it is and packed with gzip."""
LONGEST_KEY = 40
"""Characters of a key that are shown, of a line that is no request."""
VENDORS = {"chat": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "google", "converse": "bedrock"}


@dataclass(frozen=True, slots=True)
class Around:
    """What a log says beside a request's body. ``usage`` is any vendor's; times are in seconds since 1970."""

    kind: str = ""
    model: str = ""
    provider: str = ""
    time: float | None = None
    first_token: float | None = None
    user: str | None = None
    scope: str = ""
    usage: Any = None
    ignored: tuple[str, ...] = ()
    batch: bool = False
    deployment: str = ""


def request_of(body: Any, line: int, around: Around) -> LoggedRequest:
    """The request of a body in any known form; LogLineError when there is none."""
    form = dialect(body) if isinstance(body, dict) else None
    if form is None:
        keys = encodable(", ".join(key[:LONGEST_KEY] for key in sorted(map(str, body))[:8]))
        raise LogLineError(f"no request body that is known; its keys are {keys or 'none'}")
    nameless = missing_role(body, form)
    if nameless is not None:
        raise LogLineError(f"message {nameless + 1} has no role, so this is no request to a model; each message needs one")
    model = encodable(str(body.get("model") or body.get("modelId") or around.model or ""))
    pieces = read_pieces(body, form)
    if not pieces:
        raise LogLineError("the request has no prompt: no tools, no system, no messages")
    provider = around.provider or VENDORS[form]
    return LoggedRequest(
        line=line,
        provider=provider,
        model=model,
        pieces=pieces,
        time=around.time,
        first_token=around.first_token,
        user=around.user,
        scope=around.scope,
        marked_only=marked_only(body, form, model, provider),
        lifetime=lifetime(body),
        usage=read_usage(around.usage),
        ignored=around.ignored,
        batch=around.batch,
        deployment=around.deployment,
        kind=around.kind or KINDS[form],
    )


class Bodies(Stateless):
    """Bodies as they were sent, bare or wrapped: what no other reader knows is tried as one."""

    kind = "requests"

    def recognises(self, record: Record) -> bool:  # noqa: ARG002 (the protocol's)
        return True

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        yield read_record(record, line)


def read_record(record: Record, line: int, kind: str = "") -> LoggedRequest:
    """The request of a record; LogLineError when there is none."""
    body, holder = body_within(record)
    return request_of(body, line, around_of(record, body, holder, kind))


def around_of(record: Record, body: Record, holder: Record, kind: str = "") -> Around:
    """What stands around a body: in the record, and in the wrapper within it (``holder``)."""
    start = _time(record, holder)
    return Around(
        kind=kind,
        model=_model(record, holder),
        provider=str(record.get("provider") or record.get("custom_llm_provider") or ""),
        time=start,
        first_token=_first_token(record, start),
        user=_user(record, body),
        scope="\n".join(str(value) for value in (record.get("tenant"), body.get("cache_salt")) if value),
        usage=_usage(record) or _usage(holder),
        ignored=_ignored(record, body),
        batch=_is_batch(record),
        deployment=_deployment(record),
    )


def body_within(record: Record) -> tuple[Record, Record]:
    """The body of a record, and the wrapper that it was in."""
    for key in BODY_KEYS:
        inner = record.get(key)
        if isinstance(inner, str) and inner.startswith(BASE64_OBJECT):
            inner = unpacked(inner)
        if isinstance(inner, str) and inner.startswith("{"):
            inner = opened(inner)
            if isinstance(inner, str):
                raise LogLineError(f"not JSON: the text in {key!r}")
        if not isinstance(inner, dict):
            continue
        if _has_prompt(inner):
            return inner, record
        for deeper in ("body", "json", "content", "request"):
            nested = opened(inner.get(deeper))
            if isinstance(nested, dict) and _has_prompt(nested):
                return nested, inner
        if "messages" in record:  # the messages, and beside them the other arguments of a call
            return {**inner, "messages": record["messages"], "model": record.get("model") or inner.get("model")}, record
    parameters = record.get("model_parameters")
    if isinstance(parameters, dict):  # LiteLLM: the body in two halves
        return {**parameters, "messages": opened(record.get("messages")), "model": record.get("model")}, record
    return record, record


def _model(record: Record, holder: Record) -> str:
    """The model where the body does not name it: beside the body, or in the address that it was sent to."""
    told = first(record, ("model", "modelId")) or mapping(record.get("kwargs")).get("model")
    urls = (one.get(key) for one in (holder, record) for key in URL_KEYS)
    return str(told or next((name for url in urls if isinstance(url, str) and (name := model_of(url))), ""))


def holds_body(record: Record) -> bool:
    """Whether a body in a known form is in a record, bare or wrapped."""
    body, _ = body_within(record)
    return dialect(body) is not None


def _has_prompt(body: Mapping[str, Any]) -> bool:
    return "messages" in body or "input" in body or "contents" in body


def _time(record: Record, holder: Record) -> float | None:
    value = next((holder[key] for key in TIME_KEYS if key in holder), None)
    return seconds(first(record, TIME_KEYS) if value is None else value)


def _usage(record: Record) -> Any:
    for key in ANSWER_KEYS:
        usage = usage_of_answer(record.get(key))
        if usage is not None:
            return usage
    return first(record, ("usage", "usageMetadata"))


def _deployment(record: Record) -> str:
    for holder in (record, mapping(record.get("metadata")), mapping(record.get("hidden_params"))):
        value = first(holder, DEPLOYMENT_KEYS)
        if isinstance(value, str):
            return value
    return ""


def _is_batch(record: Record) -> bool:
    return "custom_id" in record and ("params" in record or "url" in record)


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
            return (
                tuple(encodable(str(code)) for code in codes if code)
                if isinstance(codes, list)
                else (encodable(str(asked)),)
            )
    return ()


def _first_token(record: Record, start: float | None) -> float | None:
    """Seconds from the request to its first token, else to its end."""
    for key in ("first_token", "ttft", "duration"):
        told = finite(record.get(key))
        if told is not None:
            return max(0.0, told)
    answer = record.get("response")
    ends = [first(record, FIRST_TOKEN_KEYS), first(record, END_KEYS)]
    if isinstance(answer, dict):
        ends.append(first(answer, ("timestamp", "ts")))
    for value in ends:
        end = seconds(value)
        if end is not None and start is not None:
            return max(0.0, end - start)
    return None
