"""Conversations that only grow."""

from typing import Any

import pytest

from foreword.errors import PromptError
from foreword.prompt.conversation import Conversation
from prompt.families import template

TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("zip", "search")]


def say(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def talk() -> Conversation:
    return Conversation.start(["Rules.", "The customer is Ann."], TOOLS).ask("one").add(say("1")).ask("two").add(say("2"))


def tokens(conversation: Conversation) -> list[int]:
    return template("chatml").encode(template("chatml").render(conversation.messages, add_generation_prompt=False))


def test_every_step_keeps_what_was_there_token_for_token(talk: Conversation) -> None:
    longer = talk.ask("three", allowed_tools=["zip"]).add(say("3")).ask("four")
    assert tokens(longer)[: len(tokens(talk))] == tokens(talk)
    assert longer.tools == talk.tools
    assert len(talk.messages) == 5  # the old one is as it was


def test_an_edit_is_a_branch_and_the_old_conversation_lives_on(talk: Conversation) -> None:
    edited = talk.branch(3).ask("two, but otherwise")
    assert edited.parent is talk
    assert edited.shared_with(talk) == 3
    assert [message["content"] for message in talk.messages[3:]] == ["two", "2"]
    assert edited.messages[3]["content"] == "two, but otherwise"


def test_allowances_stand_at_the_end_and_leave_the_tools(talk: Conversation) -> None:
    narrowed = talk.ask("three", allowed_tools=["zip"])
    assert narrowed.messages[-1]["content"] == "three\n\nFor this answer, use only these tools: zip."
    assert narrowed.openai_tool_choice() == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "zip"}}]},
    }
    assert talk.ask("x", allowed_tools=[]).messages[-1]["content"].endswith("Answer this without tools.")
    assert talk.ask("x", allowed_tools=[]).openai_tool_choice() == "none"
    assert narrowed.add(say("3")).ask("four").openai_tool_choice() is None
    assert narrowed.add(say("3")).ask("four").messages[: len(narrowed.messages)] == narrowed.messages
    with pytest.raises(PromptError, match=r"'mail' is not in this conversation, which has \['search', 'zip'\]"):
        talk.ask("x", allowed_tools=["mail"])


def test_compaction_keeps_the_head_and_the_tail(talk: Conversation) -> None:
    short = talk.compact("They counted.", head=1, tail=1)
    assert [message["content"] for message in short.messages[1:]] == [
        "Summary of the conversation so far:\nThey counted.",
        "2",
    ]
    assert short.shared_with(talk) == 1
    assert tokens(short)[: len(tokens(talk.branch(1)))] == tokens(talk.branch(1))
    assert short.parent is talk


def test_compaction_that_makes_no_sense_is_refused(talk: Conversation) -> None:
    for head, tail in ((3, 2), (-1, 0), (0, 9)):
        with pytest.raises(PromptError, match=f"head={head} and tail={tail}"):
            talk.compact("x", head, tail)


@pytest.mark.parametrize(
    "result",
    [
        {"role": "tool", "content": "r"},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]},
    ],
)
def test_compaction_does_not_part_a_call_from_its_result(talk: Conversation, result: dict[str, Any]) -> None:
    called = talk.add({"role": "assistant", "content": "", "tool_calls": []}, result)
    with pytest.raises(PromptError, match="tail=1 a tool's result would stand without its call"):
        called.compact("x", head=1, tail=1)
    longer = called.add(say("3"))
    with pytest.raises(PromptError, match="head=6 a tool call would stand without its result"):
        longer.compact("x", head=6, tail=1)
    assert len(longer.compact("x", head=5, tail=1).messages) == 7


def test_tools_in_another_order_are_the_same_conversation_and_other_tools_are_not(talk: Conversation) -> None:
    again = Conversation.start(["Rules.", "The customer is Ann."], TOOLS[::-1])
    assert again.shared_with(talk) == 1
    assert Conversation.start("Rules.", TOOLS[:1]).shared_with(talk) == 0


def test_bad_messages_and_places(talk: Conversation) -> None:
    with pytest.raises(PromptError, match="'role'"):
        talk.add({"content": "x"})
    with pytest.raises(PromptError, match="no message 6; the conversation has 5"):
        talk.branch(6)
