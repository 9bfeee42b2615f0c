"""Errors in the shape of OpenAI's API."""

from collections.abc import Collection
from typing import Any

from foreword.config import unknown_option
from foreword.errors import GrammarFailed, Overloaded, PromptTooLong, UnknownModel
from foreword.server.body import TopBody
from foreword.server.error_answers import message_of, status_of
from foreword.server.openai.responses_schema import ResponseBody
from foreword.server.openai.schema import ChatBody, CompletionBody

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
CODES_OF_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (PromptTooLong, "context_length_exceeded"),
    (UnknownModel, "model_not_found"),
    (GrammarFailed, "grammar_failed"),
)
"""By which clients decide to compact a conversation, to ask for another model, or for another form."""
BODIES: dict[str, type[TopBody]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/completions": CompletionBody,
    "/v1/responses": ResponseBody,
    "/v1/responses/input_tokens": ResponseBody,
}
"""What each endpoint takes."""
ITEMS = ("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning")
MEDIA = ("audio_url", "file", "image_url", "input_audio", "input_file", "input_image", "video_url")
TAGS = (*ITEMS, *MEDIA, "namespace", "text", "refusal", "input_text", "output_text")
"""Names of branches that pydantic puts behind an entry's number."""
RESPONSE_TAGS = (*TAGS, "function")
"""The same where tools are of several kinds; elsewhere ``function`` is a field of theirs."""
CHOSEN = ("response_format", "format", "tool_choice", "prompt")
"""Fields of several kinds: behind one pydantic puts the name of the kind."""
NO_OBJECT = "model_attributes_type"
"""Pydantic's word for a value that is to be an object and is none."""
CODES = {401: "invalid_api_key", 404: "not_found", 413: "request_too_large", 429: "rate_limit_exceeded"}


def error_body(error: Exception, status: int, request_id: str | None) -> dict[str, Any]:
    """The body of an answer with this status; also the data of an event that ends a stream."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    code, param = _code(error, status), "messages" if isinstance(error, PromptTooLong) else None
    return {
        "error": {"message": told(error), "type": kind, "param": param, "code": code, "request_id": request_id},
    }


def told(error: Exception) -> str:
    """What a client is told of an error: where clients know one by the vendor's words, in these."""
    if isinstance(error, PromptTooLong):
        return (
            f"This model's maximum context length is {error.most} tokens. However, your messages resulted in {error.tokens} "
            f"tokens. Please reduce the length of the messages."
        )
    message = message_of(error)
    return f"{message} Please try again in {error.retry_after:g}s." if isinstance(error, Overloaded) else message


def _code(error: Exception, status: int) -> str | None:
    return next((code for kind, code in CODES_OF_KINDS if isinstance(error, kind)), CODES.get(status))


def failure(error: Exception) -> dict[str, Any]:
    """The ``error`` of a response that failed in its stream."""
    return {"code": _code(error, status_of(error)) or "server_error", "message": told(error)}


def describe_fault(path: str, fault: Any) -> str:
    """One fault found by pydantic, in words that name the place, the value and the way out."""
    kind, value, body = fault["type"], fault.get("input"), BODIES.get(path, TopBody)
    place = _field_names(fault["loc"], kind, RESPONSE_TAGS if body is ResponseBody else TAGS)
    where = ".".join(str(part) for part in place) or "body"
    name = str(place[-1]) if place else ""
    if kind == "json_invalid":
        return f"The body is not valid JSON: {fault.get('ctx', {}).get('error', fault['msg'])}."
    if kind == "extra_forbidden":
        if len(place) > 1:
            return f"{where}: unknown field; leave it out."
        if (why := body.table.refused.get(name)) is not None:
            return f"{where}: {name!r} is not served here: {why}. Leave it out."
        return unknown_option(name, sorted(body.model_fields), "field")
    if kind == "missing":
        return f"{where}: required, and not there." if place else "The body is empty; it must be a JSON object."
    if kind == NO_OBJECT:
        return f"{where}: must be a JSON object{'' if place else '; send it with content-type: application/json'}."
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}{_shown(value)}."


def _field_names(place: tuple[int | str, ...], kind: str, tags: Collection[str]) -> list[int | str]:
    """A place in the body, without what pydantic puts in for the branches of unions (``tags`` behind an entry's number)."""
    names = [
        part for part in place if isinstance(part, int) or (part.isidentifier() and part not in ("body", "str", "bool"))
    ]
    last = len(names) - 1
    branches = [
        at
        for at in range(1, len(names))
        if (isinstance(names[at - 1], int) and names[at] in tags and (at < last or kind == NO_OBJECT))
        or (names[at - 1] in CHOSEN and (at < last or kind not in ("extra_forbidden", "missing")))
    ]
    return [part for at, part in enumerate(names) if at not in branches]


def _shown(value: Any) -> str:
    """A small value, to be named; nothing of a large one."""
    return (
        f" (got {value!r})" if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < 40) else ""
    )
