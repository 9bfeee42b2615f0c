"""One history is one prompt, whatever endpoint it came through; and what was sent through any of them is in it."""

from datetime import datetime
from typing import Any

import pytest

from foreword.prompt.chat import ChatPrompt, Message
from foreword.prompt.vendor_forms.anthropic import read_prompt
from foreword.prompt.vendor_forms.openai import read_items, read_messages
from foreword.prompt.vendor_forms.tools import as_function
from foreword.prompt.written import write_conversation
from prompt.families import FAMILIES, template

NOW = datetime(2026, 11, 26)
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}


def text(words: str, kind: str = "text") -> list[dict[str, str]]:
    return [{"type": kind, "text": words}]


def chat() -> tuple[Message, ...]:
    calls = [
        {"id": name, "type": "function", "function": {"name": "read", "arguments": f'{{"path":"{name}.py"}}'}}
        for name in ("a", "b")
    ]
    return read_messages(
        [
            {"role": "system", "content": "Be an agent."},
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": "I look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "a", "content": "one"},
            {"role": "tool", "tool_call_id": "b", "content": "two"},
            {"role": "user", "content": "And?"},
        ]
    )


def responses() -> tuple[Message, ...]:
    called = {"type": "function_call", "name": "read"}
    return read_items(
        [
            {"type": "message", "role": "system", "content": text("Be an agent.", "input_text")},
            {"type": "message", "role": "user", "content": text("Look.", "input_text")},
            {"type": "message", "role": "assistant", "content": text("I look.", "output_text")},
            *({**called, "call_id": name, "arguments": f'{{"path": "{name}.py"}}'} for name in ("a", "b")),
            {"type": "function_call_output", "call_id": "a", "output": "one"},
            {"type": "function_call_output", "call_id": "b", "output": "two"},
            {"role": "user", "content": "And?"},
        ]
    ).messages


def messages() -> tuple[Message, ...]:
    uses = [{"type": "tool_use", "id": name, "name": "read", "input": {"path": f"{name}.py"}} for name in ("a", "b")]
    results: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": name, "content": text(found)} for name, found in (("a", "one"), ("b", "two"))
    ]
    body = {
        "system": text("Be an agent."),
        "messages": [
            {"role": "user", "content": text("Look.")},
            {"role": "assistant", "content": [*text("I look."), *uses]},
            {"role": "user", "content": [*results, *text("And?")]},
        ],
    }
    return read_prompt(body)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_three_endpoints_give_one_prompt(family: str) -> None:
    tools = [
        {"type": "function", "function": {"name": "read", "description": "Reads.", "parameters": SCHEMA}},
        {"type": "function", "name": "read", "description": "Reads.", "parameters": SCHEMA},
        {"name": "read", "description": "Reads.", "input_schema": SCHEMA},
    ]
    prompts = {
        write_conversation(template(family), ChatPrompt(sent, (as_function(tool),)), NOW)
        for sent, tool in zip((chat(), responses(), messages()), tools, strict=True)
    }
    assert len(prompts) == 1
    (prompt,) = prompts
    assert [word for word in ("Be an agent.", "I look.", "b.py", "two", "And?", "Reads.") if word not in prompt] == []
