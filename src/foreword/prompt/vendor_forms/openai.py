"""Messages in the forms of OpenAI's chat and responses APIs. The chat API's form is also what chat templates know."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.chat import Block, Message, ToolCall
from foreword.prompt.vendor_forms.blocks import read_blocks
from foreword.prompt.vendor_forms.reasoning import read_thought
from foreword.prompt.vendor_forms.tools import read_call, write_call

MAX_MARKS = 4
"""A request writes so many marks; of more, the latest count."""
REASONING = ("reasoning_content", "thinking", "reasoning")
"""Fields of a message in which servers put what the model thought, the usual one first."""


def read_message(message: Mapping[str, Any]) -> Message:
    """A message of the chat API. An empty content is none; the arguments of calls stay as they were sent."""
    content = message.get("content")
    return Message(
        role=message["role"],
        blocks=(*_thinking(message), *(() if content == "" else read_blocks(content))),
        tool_calls=tuple(map(read_call, message.get("tool_calls") or ())),
        tool_call_id=message.get("tool_call_id"),
        name=message.get("name"),
    )


def read_messages(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages of the chat API from a program, arguments opened. PromptError for what is no message."""
    return tuple(map(_read_given, messages))


def _read_given(message: Mapping[str, Any]) -> Message:
    if not isinstance(message, Mapping):
        raise PromptError(f"A message is a dict with 'role' and 'content', not {type(message).__name__}.")
    if not isinstance(message.get("role"), str):
        raise PromptError(f"A message has no 'role'; it has {sorted(map(str, message))}.")
    try:
        return read_message(message).with_opened_calls()
    except (TypeError, ValueError) as error:
        raise PromptError(f"A message of the role {message['role']!r} cannot be read: {error}.") from error


def write_message(message: Message) -> dict[str, Any]:
    """A message for the chat API and for chat templates: a content of texts; of images and files, their names."""
    written: dict[str, Any] = {"role": message.role}
    thoughts = [block.text for block in message.blocks if block.kind == "thinking"]
    texts = [block.text for block in message.blocks if block.kind != "thinking"]
    if thoughts:
        written["reasoning_content"] = "\n".join(thoughts)
    if len(texts) > 1:
        written["content"] = [{"type": "text", "text": text} for text in texts]
    else:
        written["content"] = texts[0] if texts else ""
    if message.tool_calls:
        written["tool_calls"] = [write_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        written["name"] = message.name
    return written


def read_item(item: Mapping[str, Any]) -> Message:
    """An item of the responses API's input or output as a message: a message, a thought, a call, or what a call gave.

    A thought of which nothing can be read, as another server has encrypted it, is a message of nothing.
    """
    kind = item.get("type", "message")
    if kind == "message":
        return read_message({"role": item["role"], "content": item.get("content")})
    if kind == "function_call":
        return Message("assistant", (), (read_call(item),))
    if kind == "function_call_output":
        return Message("tool", read_blocks(item.get("output")), tool_call_id=item["call_id"])
    if kind == "reasoning":
        thought = read_thought(item)
        return Message("assistant", (Block("thinking", thought),) if thought else ())
    raise PromptError(
        f"An item of type {kind!r} cannot be read; known are messages, thoughts, calls of functions and their outputs."
    )


@dataclass(frozen=True, slots=True)
class ReadItems:
    """Messages that items became, and for each item the message and the block in it at which it begins.

    An item that became nothing stands where the next one begins.
    """

    messages: tuple[Message, ...]
    places: tuple[tuple[int, int], ...]


def read_items(items: Iterable[Mapping[str, Any]], before: Sequence[Message] = ()) -> ReadItems:
    """Items of the responses API as messages, behind those ``before``; the messages are given with those.

    What the assistant thought, said and called one after the other is one message, as the chat API has it; it ends where
    something is said behind a call. Arguments are opened.
    """
    messages, places = list(before), []
    for item in items:
        message = read_item(item).with_opened_calls()
        last = messages[-1] if messages else None
        if last is not None and _goes_on(last, message):
            places.append((len(messages) - 1, len(last.blocks) + len(last.tool_calls)))
            joined = replace(last, blocks=last.blocks + message.blocks, tool_calls=last.tool_calls + message.tool_calls)
            messages[-1] = joined
        else:
            places.append((len(messages), 0))
            messages.append(message)
    return ReadItems(tuple(messages), tuple(places))


def _goes_on(last: Message, message: Message) -> bool:
    """Whether a message of the assistant is a part of the one before it."""
    return last.role == message.role == "assistant" and not (last.tool_calls and message.blocks)


def write_items(message: Message) -> list[dict[str, Any]]:
    """Input items of the responses API for a message: the message itself, then one item for each of its tool calls.

    What the assistant said becomes one text, as the API has it; what it thought stays behind. PromptError for content that
    is no text.
    """
    blocks = _without_thoughts(message.blocks)
    if message.role == "tool":
        output = [_input_text(block) for block in blocks]
        return [{"type": "function_call_output", "call_id": message.tool_call_id or "", "output": output}]
    texts = [_input_text(block) for block in blocks]
    content = "\n".join(block.text for block in blocks) if message.role == "assistant" else texts
    said = [{"type": "message", "role": message.role, "content": content}] if texts else []
    return said + [_function_call(call) for call in message.tool_calls]


def allowed_tools(names: Iterable[str]) -> dict[str, Any] | str:
    """``tool_choice`` of the chat API that allows no tools but these, and leaves the list of tools as it is."""
    named = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named}} if named else "none"


def holds_result(message: Mapping[str, Any]) -> bool:
    """Whether a message answers a call of a tool, as a message of its own or with a block in Anthropic's form."""
    return message["role"] == "tool" or any(block.kind == "tool_result" for block in read_blocks(message.get("content")))


def _thinking(message: Mapping[str, Any]) -> tuple[Block, ...]:
    for field in REASONING:
        if isinstance(message.get(field), str):
            return (Block("thinking", message[field]),)
    return ()


def _without_thoughts(blocks: Iterable[Block]) -> list[Block]:
    return [block for block in blocks if block.kind != "thinking" or block.source is not None]


def _input_text(block: Block) -> dict[str, Any]:
    if block.kind != "text":
        kind = (block.source or {}).get("type", block.kind)
        raise PromptError(f"A content part of type {kind!r} cannot be sent to the responses API from here.")
    more = {key: value for key, value in (block.source or {}).items() if key not in ("type", "text", "refusal")}
    return {"type": "input_text", "text": block.text, **more}


def _function_call(call: ToolCall) -> dict[str, Any]:
    arguments = call.arguments
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": text}
