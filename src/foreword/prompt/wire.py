"""Tools and messages in the forms of OpenAI's chat and responses APIs and of Anthropic's messages API."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.template import Message, Tool

Block = dict[str, Any]


def as_openai_tool(tool: Tool) -> Tool:
    """A tool as a function; one in Anthropic's form is rewritten."""
    if "function" in tool:
        return tool
    function = {"name": tool["name"], "description": tool.get("description", ""), "parameters": tool.get("input_schema", {})}
    return {"type": "function", "function": function}


def as_responses_tool(tool: Tool) -> dict[str, Any]:
    """A tool in the flat form of the responses API; ``strict`` is off, as in the chat API, unless the tool says so."""
    return {"type": "function", "strict": False, **as_openai_tool(tool)["function"]}


def as_anthropic_tool(tool: Tool) -> dict[str, Any]:
    """A tool with its input schema; one in OpenAI's form is rewritten."""
    function = tool.get("function")
    if function is None:
        return dict(tool)
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return {"name": function["name"], "description": function.get("description", ""), "input_schema": schema}


def responses_items(message: Message) -> list[dict[str, Any]]:
    """Input items of the responses API for a chat message: the message itself, then one item for each of its tool calls.

    What the assistant said becomes one text, as the API has it. PromptError for content that is no text.
    """
    role, content = message["role"], message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or ())
    for part in parts:
        if part.get("type") != "text":
            raise PromptError(f"A content part of type {part.get('type')!r} cannot be sent to the responses API from here.")
    texts = [{**part, "type": "input_text"} for part in parts]
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id", ""), "output": texts}]
    said_content = "\n".join(part["text"] for part in parts) if role == "assistant" else texts
    said = [{"type": "message", "role": role, "content": said_content}] if texts else []
    return said + [_function_call(call) for call in message.get("tool_calls") or ()]


def anthropic_blocks(message: Message) -> tuple[str, list[Block]]:
    """Role and content blocks of a chat message; PromptError for what has no place among Anthropic's messages."""
    role, content = message["role"], message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or ())
    if role == "tool":
        return "user", [{"type": "tool_result", "tool_use_id": message.get("tool_call_id", ""), "content": blocks}]
    if role not in ("user", "assistant"):
        raise PromptError(
            f"A message of role {role!r} stands in the history; Anthropic's API takes user, assistant and tool."
        )
    return role, [dict(block) for block in blocks] + [_tool_use(call) for call in message.get("tool_calls") or ()]


def anthropic_messages(turns: Iterable[tuple[str, list[Block]]]) -> list[dict[str, Any]]:
    """Messages of roles in turn: blocks of one role that follow one another become one message."""
    messages: list[dict[str, Any]] = []
    for role, blocks in turns:
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": list(blocks)})
    return messages


def _function_call(call: Mapping[str, Any]) -> Block:
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"type": "function_call", "call_id": call.get("id", ""), "name": function.get("name", ""), "arguments": text}


def _tool_use(call: Mapping[str, Any]) -> Block:
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise PromptError(f"The arguments of a call to {function.get('name')!r} are not JSON: {error}") from error
    return {"type": "tool_use", "id": call.get("id", ""), "name": function.get("name", ""), "input": arguments}
