"""The three known bodies, as rows of pieces: Anthropic messages, OpenAI chat completions, OpenAI responses."""

from collections.abc import Iterator, Mapping
from typing import Any

from foreword.audit.readers.content import TTL_SECONDS, as_json, blocks_of, mark_of, media_digest
from foreword.audit.request import MESSAGE, SYSTEM, TOOLS, Piece
from foreword.audit.text_diff import encodable

Body = Mapping[str, Any]


def dialect(body: Body) -> str | None:
    """``anthropic``, ``chat`` or ``responses``; None when the body is no request of any of them."""
    if "input" in body and "messages" not in body:
        return "responses" if isinstance(body["input"], str | list) and _is_responses(body) else None
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return None
    tools = body.get("tools")
    first = tools[0] if isinstance(tools, list) and tools and isinstance(tools[0], dict) else {}
    if "system" in body or "input_schema" in first or "anthropic_version" in body:
        return "anthropic"
    if any(message.get("role") in ("system", "developer", "tool") for message in messages):
        return "chat"
    return "anthropic" if "claude" in str(body.get("model", "")).lower() and "function" not in first else "chat"


def _is_responses(body: Body) -> bool:
    """Embeddings and moderations have an ``input`` as well, of plain texts."""
    given = body["input"]
    if isinstance(given, str):
        return "encoding_format" not in body and "embed" not in str(body.get("model", ""))
    return all(isinstance(item, dict) for item in given)


def read_pieces(body: Body, form: str) -> tuple[Piece, ...]:
    """The prompt of a body of that dialect."""
    reader = {"anthropic": _anthropic, "chat": _chat, "responses": _responses}[form]
    return tuple(reader(body))


def _tools(body: Body) -> Iterator[Piece]:
    tools = body.get("tools")
    for i, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict):
            text = as_json({key: value for key, value in tool.items() if key != "cache_control"})
            yield Piece(TOOLS, "tool", "", 0, i, text, mark_of(tool))


def _schema(schema: Any) -> Iterator[Piece]:
    if isinstance(schema, dict) and schema.get("type") == "json_schema":
        yield Piece(TOOLS, "schema", "", 0, 0, as_json(schema))


def _message(role: str, number: int, content: Any) -> Iterator[Piece]:
    for i, (kind, text, mark) in enumerate(blocks_of(content)):
        yield Piece(MESSAGE, "tool_result" if role == "tool" and kind == "text" else kind, role, number, i, text, mark)


def _anthropic(body: Body) -> Iterator[Piece]:
    yield from _tools(body)
    for i, (kind, text, mark) in enumerate(blocks_of(body.get("system"))):
        yield Piece(SYSTEM, kind, "", 0, i, text, mark)
    rows = [
        piece
        for number, message in enumerate(body["messages"])
        for piece in _message(encodable(str(message.get("role", ""))), number, message.get("content"))
    ]
    automatic = mark_of(body)
    if automatic is not None and rows:
        rows[-1] = rows[-1]._replace(mark=automatic)
    yield from rows


def _chat(body: Body) -> Iterator[Piece]:
    yield from _tools(body)
    yield from _schema(body.get("response_format"))
    systems, number = 0, 0
    for message in body["messages"]:
        role = encodable(str(message.get("role", "")))
        if role in ("system", "developer") and number == 0:
            for kind, text, mark in blocks_of(message.get("content")):
                yield Piece(SYSTEM, kind, "", 0, systems, text, mark or mark_of(message))
                systems += 1
            continue
        rows = list(_message(role, number, message.get("content")))
        calls = message.get("tool_calls")
        rows += [
            Piece(MESSAGE, "tool_use", role, number, len(rows) + i, as_json(call))
            for i, call in enumerate(calls if isinstance(calls, list) else ())
        ]
        if rows and rows[-1].mark is None:
            rows[-1] = rows[-1]._replace(mark=mark_of(message))
        yield from rows
        number += 1


def _responses(body: Body) -> Iterator[Piece]:
    yield from _tools(body)
    text = body.get("text")
    yield from _schema(text.get("format") if isinstance(text, dict) else None)
    systems, number = 0, 0
    if body.get("instructions"):
        yield Piece(SYSTEM, "text", "", 0, 0, str(body["instructions"]))
        systems = 1
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for item in items:
        role = encodable(str(item.get("role", "")))
        if role in ("system", "developer") and number == 0:
            for kind, block, mark in blocks_of(item.get("content")):
                yield Piece(SYSTEM, kind, "", 0, systems, block, mark)
                systems += 1
            continue
        yield from _message(role, number, item["content"]) if "content" in item else _item(item, number)
        number += 1


def _item(item: Body, number: int) -> Iterator[Piece]:
    """An item of a responses input that is no message: a call, its output, or reasoning."""
    kind = str(item.get("type", ""))
    if kind == "input_image":
        yield Piece(MESSAGE, "image", "user", number, 0, media_digest("image", item.get("image_url")))
    elif kind == "function_call_output":
        yield from _message("tool", number, item.get("output"))
    else:
        name = {"function_call": "tool_use", "reasoning": "thinking"}.get(kind, kind)
        yield Piece(MESSAGE, name, "assistant", number, 0, as_json(item))


def marked_only(body: Body, form: str, model: str, provider: str) -> bool:
    """Whether nothing but what is marked is cached: Anthropic's models, and OpenAI's explicit mode; never by Foreword."""
    if provider == "foreword":
        return False
    options = body.get("prompt_cache_options")
    if isinstance(options, dict):
        return options.get("mode") == "explicit"
    return form == "anthropic" or "claude" in model.lower()


def lifetime(body: Body) -> float | None:
    """Seconds that the request asks its automatically cached prefix to live; None when it does not say."""
    options = body.get("prompt_cache_options")
    asked = options.get("ttl") if isinstance(options, dict) else body.get("prompt_cache_retention")
    return TTL_SECONDS.get(str(asked))
