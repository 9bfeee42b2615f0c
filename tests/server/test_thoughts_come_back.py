"""Answers with thoughts are sent back as they came, the same history in every API; what others thought is passed over."""

from typing import Any

import pytest

from foreword.prompt.chat import Block, Message, ToolCall
from foreword.prompt.vendor_forms.openai import read_items
from foreword.prompt.vendor_forms.reasoning import write_signature
from foreword.server.anthropic.answers import Head
from foreword.server.anthropic.answers import message as anthropic_message
from foreword.server.anthropic.conversation import conversation
from foreword.server.anthropic.schema import CountTokensBody
from foreword.server.openai.chat_choices import message as chat_message
from foreword.server.openai.requests import chat_conversation
from foreword.server.openai.response_items import Output
from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import Answer
from server.anthropic.test_answers import usage
from server.live import Live
from serving.choices import choices

(CHOICE,) = choices(['<think>Hm.</think>So. <tool_call>{"name": "web", "arguments": {"q": "fox"}}</tool_call>'], ["web"])
CALL_ID = CHOICE.tool_uses[0].call_id or ""
SAID = Message("assistant", (Block("thinking", "Hm."), Block("text", "So.")), (ToolCall(CALL_ID, "web", {"q": "fox"}),))
USER = {"role": "user", "content": "fox"}


def test_of_chat_completions() -> None:
    sent = chat_message(CHOICE)
    result = {"role": "tool", "tool_call_id": CALL_ID, "content": "found"}
    body = ChatBody.model_validate({"model": "m", "messages": [USER, sent, result]})
    assert chat_conversation(body).messages[1] == SAID
    other = {**sent, "reasoning": sent.pop("reasoning_content")}
    body = ChatBody.model_validate({"model": "m", "messages": [USER, {**sent, "reasoning": other["reasoning"]}, result]})
    assert chat_conversation(body).messages[1] == SAID


def test_of_responses() -> None:
    for encrypted in (False, True):
        output = Output("1", 0, encrypted=encrypted)
        output.feed(CHOICE)
        output.finish("completed")
        items = [{**item, "content": None} if encrypted and item["type"] == "reasoning" else item for item in output.items]
        assert read_items(items).messages == (SAID,)


def test_of_messages() -> None:
    sent = anthropic_message(Head("msg_1", "m", 8), Answer((CHOICE,), usage()))["content"]
    result = {"type": "tool_result", "tool_use_id": CALL_ID, "content": "found"}

    def read(content: list[dict[str, Any]]) -> Message:
        turns = [USER, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
        return conversation(CountTokensBody.model_validate({"model": "m", "messages": turns})).messages[1]

    assert read(sent) == SAID
    without = Message("assistant", SAID.blocks[1:], SAID.tool_calls)
    for foreign in (
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCkYIBxgC"},
        {"type": "thinking", "thinking": "Hm. Changed.", "signature": write_signature("Hm.")},
        {"type": "redacted_thinking", "data": "EqQB"},
    ):
        assert read([foreign, *sent[1:]]) == without


@pytest.mark.parametrize(
    "thought",
    [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAAB"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "content": None},
    ],
)
def test_reasoning_items_are_taken(live: Live, thought: dict[str, Any]) -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "So."}]}
    items = [{"type": "message", **USER}, thought, said, {"type": "message", **USER}]
    with live.client() as client:
        answer = client.post("/v1/responses", json={"model": "tiny", "input": items, "max_output_tokens": 2})
    assert answer.status_code == 200, answer.text
