"""The auditor, given a model's tokenizer and template, counts the very tokens that the server computes for a body."""

import json
from typing import Any

import pytest

from foreword.audit import TemplateTokens
from foreword.audit.readers import read_record
from foreword.prompt.chat import ChatPrompt
from foreword.prompt.vendor_forms.openai import write_message
from foreword.server.anthropic.conversation import conversation
from foreword.server.anthropic.schema import MessagesBody
from foreword.server.openai.requests import chat_conversation
from foreword.server.openai.schema import ChatBody
from foreword.tokens import pack_tokens
from prompt.families import template

FUNCTION = {"name": "fares", "description": "Look up fares.", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "fares", "arguments": '{"to": "Bern"}'}}
CHAT: dict[str, Any] = {
    "model": "m",
    "tools": [{"type": "function", "function": FUNCTION}],
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "To Bern?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12 francs"},
        {"role": "assistant", "content": "12 francs."},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "back?"}]},
    ],
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "fares", "description": "Look up fares.", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "To Bern?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "fares", "input": {"to": "Bern"}},
                {"type": "tool_use", "id": "t2", "name": "fares", "input": {"to": "Basel"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "12 francs"},
                {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "9 francs"}]},
                {"type": "text", "text": "And back?"},
            ],
        },
    ],
}


def prompt_of(body: dict[str, Any]) -> ChatPrompt:
    """A body's prompt, by the dialect that takes it."""
    if "max_tokens" in body:
        return conversation(MessagesBody.model_validate(body))
    return chat_conversation(ChatBody.model_validate(body))


@pytest.mark.parametrize("family", ["chatml", "qwen2_5", "qwen3"])
@pytest.mark.parametrize("body", [CHAT, MESSAGES], ids=["chat", "messages"])
def test_the_auditor_counts_what_the_server_computes(family: str, body: dict[str, Any]) -> None:
    chat, auditor = template(family), TemplateTokens(template(family))
    asked = prompt_of(body)
    text = chat.render([write_message(message) for message in asked.messages], asked.tools)
    logged = auditor.encode(read_record(json.loads(json.dumps({"ts": 0, "request": body})), 1))
    assert auditor.refused == 0
    assert logged.packed == pack_tokens(chat.encode(text))
