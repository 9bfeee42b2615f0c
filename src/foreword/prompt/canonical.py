"""One form for prompts that mean the same: what only looks different must not miss the cache.

Touched, because the meaning stays:

- JSON (tools, schemas, tool-call arguments): written as RFC 8785 says, with keys in order, numbers and escapes in one form
- the order of tools, and of names in a schema's ``required``
- line endings (CRLF and CR become LF), a byte-order mark at the head, Unicode's composed form (NFC)
- a content that is one plain text part becomes that text

Not touched: the order of messages, of content parts and of every other list; blanks, tabs and empty lines; letter case;
characters that only look alike (no NFKC); JSON that stands inside ordinary text; anything that is not part of the prompt.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

from foreword.errors import PromptError
from foreword.prompt.chat import tool_name
from foreword.prompt.vendor_forms.blocks import TEXT_TYPES

_MARKS = ("cache_control", "prompt_cache_breakpoint")
_DATA = ("examples", "example", "default", "const", "enum")
"""Fields of a schema whose values are data: nothing in them is a keyword."""
_PROMPT_FIELDS = ("system", "instructions", "messages", "input")
_SCHEMA_FIELDS = ("response_format", "text", "output_config", "output_format")


def canonical_json(value: Any) -> str:
    """JSON text by RFC 8785. PromptError for what it cannot hold: NaN, infinities, integers beyond 2**53, other types,
    halves of surrogate pairs."""
    try:
        return rfc8785.dumps(value).decode()
    except rfc8785.IntegerDomainError as error:
        raise PromptError(f"This value has no canonical JSON form: {error}. Write large integers as text.") from error
    except rfc8785.FloatDomainError as error:
        raise PromptError(f"This value has no canonical JSON form: {error}. JSON has no NaN and no infinity.") from error
    except UnicodeError as error:
        raise PromptError(f"This value has no canonical JSON form: it holds half of a surrogate pair ({error}).") from error
    except (rfc8785.CanonicalizationError, TypeError, AttributeError, RecursionError) as error:
        raise PromptError(
            f"This value has no canonical JSON form: {error}. JSON has objects with texts as keys, lists, texts, numbers, "
            "true, false and null."
        ) from error


def canonical_text(text: str) -> str:
    """A text with LF line endings, in NFC, without byte-order marks at its head."""
    return unicodedata.normalize("NFC", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def canonical_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools by name, each with its keys in order: OpenAI's or Anthropic's form, as given.

    A mark on the last tool covers all of them, and stays on the last. PromptError for what is no list of tools.
    """
    for tool in tools:
        _checked_object("A tool", tool)
    marks = [{key: tool[key] for key in _MARKS if key in tool} for tool in tools]
    plain = [_canonical_schema({key: value for key, value in tool.items() if key not in _MARKS}) for tool in tools]
    if any(marks[:-1]):  # marks between tools cover some of them: their order is kept
        return [dict(sorted({**tool, **_one_form(mark)}.items())) for tool, mark in zip(plain, marks, strict=True)]
    ordered = sorted(plain, key=lambda tool: (tool_name(tool), canonical_json(tool)))
    if ordered and marks[-1]:
        ordered[-1] = dict(sorted({**ordered[-1], **_one_form(marks[-1])}.items()))
    return ordered


def canonical_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages in the same order, their texts, contents and tool-call arguments in one form."""
    return [_canonical_block(_checked_object("A message", message)) for message in messages]


def canonical_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request to OpenAI's chat or responses API or Anthropic's messages, its prompt in canonical form.

    Sampling and all else that is not part of the prompt stays as it is. PromptError for what is no such body.
    """
    request = dict(_checked_object("A request", body))
    if request.get("tools"):
        request["tools"] = canonical_tools(request["tools"])
    for field in _SCHEMA_FIELDS:
        if isinstance(request.get(field), Mapping):
            request[field] = _canonical_schema(request[field])
    for field in _PROMPT_FIELDS:
        value = request.get(field)
        if isinstance(value, str):
            request[field] = canonical_text(value)
        elif isinstance(value, Sequence):
            request[field] = [_canonical_block(item) if isinstance(item, Mapping) else item for item in value]
    return request


def _one_form(value: Any) -> Any:
    """A JSON value with its keys in order and its numbers as RFC 8785 writes them."""
    return json.loads(
        canonical_json(value), parse_int=lambda digits: int(digits) if abs(int(digits)) < 2**53 else float(digits)
    )


def _canonical_schema(value: Any) -> Any:
    """JSON with ordered keys, numbers in one form, canonical texts, and ``required`` as the set that it is."""
    return _schema_texts(_one_form(value))


def _schema_texts(value: Any) -> Any:
    if isinstance(value, str):
        return canonical_text(value)
    if isinstance(value, list):
        return [_schema_texts(item) for item in value]
    if isinstance(value, dict):
        plain = {key: _data_texts(item) if key in _DATA else _schema_texts(item) for key, item in value.items()}
        required = plain.get("required")
        if isinstance(required, list) and all(isinstance(name, str) for name in required):
            plain["required"] = sorted(set(required))
        return plain
    return value


def _data_texts(value: Any) -> Any:
    if isinstance(value, str):
        return canonical_text(value)
    if isinstance(value, list):
        return [_data_texts(item) for item in value]
    return {key: _data_texts(item) for key, item in value.items()} if isinstance(value, dict) else value


def _checked_object(what: str, value: Any) -> Mapping[str, Any]:
    """The value; PromptError if it is no JSON object."""
    if not isinstance(value, Mapping):
        raise PromptError(f"{what} is {value!r:.60}; it must be a JSON object.")
    wrong = next((key for key in value if not isinstance(key, str)), None)
    if wrong is not None:
        raise PromptError(f"{what} has the key {wrong!r}; the keys of a JSON object are texts.")
    return value


def _canonical_block(block: Mapping[str, Any]) -> dict[str, Any]:
    """A message, a content part or an item of the responses API."""
    _checked_object("A part of a message", block)
    plain = {key: _canonical_field(key, value) for key, value in sorted(block.items())}
    content = plain.get("content")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict) and _is_plain_text(content[0]):
        plain["content"] = content[0]["text"]
    return plain


def _canonical_field(key: str, value: Any) -> Any:
    if key == "arguments" and isinstance(value, str):
        return _canonical_arguments(value)
    if key in ("arguments", "input") and isinstance(value, Mapping):
        return _one_form(value)
    if isinstance(value, str):
        return canonical_text(value)
    if isinstance(value, Mapping):
        return _canonical_block(value)
    if isinstance(value, list | tuple):
        return [_canonical_block(item) if isinstance(item, Mapping) else _canonical_field("", item) for item in value]
    return value


def _canonical_arguments(text: str) -> str:
    """Arguments as JSON text; what is no JSON, or says more than JSON can hold, stays as it is."""
    try:
        return canonical_json(json.loads(text, object_pairs_hook=_keys_once))
    except (ValueError, RecursionError):
        return text


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError if a key comes twice, which readers understand in different ways."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _is_plain_text(part: Mapping[str, Any]) -> bool:
    return set(part) == {"type", "text"} and part["type"] in TEXT_TYPES
