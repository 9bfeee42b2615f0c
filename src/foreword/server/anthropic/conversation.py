"""The prompt of an Anthropic body: its conversation, and where its marks stand."""

from typing import Any

from foreword.prompt.chat import ChatPrompt
from foreword.prompt.vendor_forms.anthropic import mark_ttl, read_prompt
from foreword.prompt.vendor_forms.blocks import as_json
from foreword.prompt.vendor_forms.reasoning import write_signature
from foreword.prompt.vendor_forms.tools import as_function
from foreword.server.anthropic.errors import ThreadRefused
from foreword.server.anthropic.marks import resolve_marks
from foreword.server.anthropic.schema import CountTokensBody


def conversation(body: CountTokensBody) -> ChatPrompt:
    """The prompt of a body; an answer at its end has begun, and the model goes on with it.

    PromptError for what no model could be given, or for marks against the rules; ThreadRefused for a part of a thread.
    """
    if body.thread is not None:
        raise ThreadRefused
    given = body.model_dump(include={"system", "cache_control"}, exclude_unset=True)
    for name, parts in (("tools", body.tools), ("messages", body.messages)):
        if name in body.model_fields_set:
            given[name] = [part.model_dump(exclude_unset=True) for part in parts]  # one at a time: a dump lets nobody in
    for message in given["messages"]:
        message["content"] = [block for block in message["content"] if not _is_foreign(block)]
    messages, places = read_prompt(given)
    return ChatPrompt(
        messages=messages,
        tools=tuple(as_function(_described(tool)) for tool in given.get("tools", ())),
        marks=resolve_marks(places, None if _says_of_conversation(body) else mark_ttl(given)),
        go_on=bool(messages) and messages[-1].role == "assistant",
    )


def _says_of_conversation(body: CountTokensBody) -> bool:
    """Whether the mark at the top of a body says only whether the conversation goes on."""
    return body.cache_control is not None and body.cache_control.conversation is not None


def _is_foreign(block: dict[str, Any]) -> bool:
    """Whether a block is what another server's model thought: for that one alone to read."""
    ours = block["type"] == "thinking" and block.get("signature") == write_signature(block["thinking"])
    return block["type"] in ("thinking", "redacted_thinking") and not ours


def _described(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool with the examples of its input behind its description."""
    examples = tool.get("input_examples")
    if not examples:
        return tool
    lines = (tool.get("description", ""), "Examples of input:", *map(as_json, examples))
    return {**tool, "description": "\n".join(filter(None, lines))}
