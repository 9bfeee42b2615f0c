"""What a chat template leaves out is named; what it only spells otherwise is not."""

import json
from typing import Any

import pytest

from foreword.errors import PromptError
from foreword.prompt.abilities import TemplateAbilities
from foreword.prompt.chat import Block, Message, ToolCall, text_blocks
from foreword.prompt.fitting import fit
from foreword.prompt.presence import check_presence, check_readable

TEXT = 'He said "go".\nThen: é \\ C:\\new'


def check(prompt: str, *messages: Message, tools: tuple[Any, ...] = ()) -> None:
    check_presence(prompt, messages, fit(messages, tools, TemplateAbilities()))


def said(role: str, *texts: str) -> Message:
    return Message(role, text_blocks(*texts))


@pytest.mark.parametrize(
    "spelt",
    [TEXT, f"  {TEXT}\n\n", json.dumps(TEXT), json.dumps(TEXT, ensure_ascii=False), TEXT.replace("\n", " "), repr(TEXT)],
)
def test_a_text_may_be_trimmed_escaped_or_spaced_otherwise(spelt: str) -> None:
    check(f"<user>{spelt}<end>", said("user", f"\n{TEXT} "))


def test_what_is_missing_is_named_with_its_message_and_role_and_nobodys_words() -> None:
    with pytest.raises(PromptError, match=r"^messages\.1 \(developer\): its text is not in the prompt") as caught:
        check("<user>hi", said("user", "hi"), said("developer", "BANANA"))
    assert "BANANA" not in str(caught.value)
    call = Message("assistant", (), (ToolCall("a", "look", {"key": ["x", {"deep": "GIRAFFE"}], "count": 77}),))
    check('<call>look {"key": ["x", {"deep": "GIRAFFE"}], "count": 77}', call)
    for prompt in ("look key x deep 77", "look key x GIRAFFE 77", "look key x deep GIRAFFE", "key x deep GIRAFFE 77"):
        with pytest.raises(PromptError, match=r"messages\.0 \(assistant\): (an argument of )?the call of 'look'"):
            check(prompt, call)
    tool = {
        "type": "function",
        "function": {"name": "ZEBRA", "description": "Runs.", "parameters": {"properties": {"x": {}}}},
    }
    check("ZEBRA Runs. x", said("user", "x"), tools=(tool,))
    for prompt in ("Runs. x", "ZEBRA x", "ZEBRA Runs."):
        with pytest.raises(PromptError, match=r"tools\.0 \(ZEBRA\)"):
            check(prompt, said("user", "."), tools=(tool,))


def test_signs_alone_are_looked_for_as_they_are() -> None:
    check("<user>?!", said("user", "?!"))
    with pytest.raises(PromptError):
        check("<user>hi", said("user", "?!"))


@pytest.mark.parametrize("close", ["</think>", "[/THINK]", "</thinking>", "</reasoning>", "<|message|>"])
def test_what_the_assistant_thought_may_be_left_out_and_what_it_said_may_not(close: str) -> None:
    answer = said("assistant", f"a thought{close}\n\nan answer")
    check("<a>an answer", answer)
    with pytest.raises(PromptError):
        check("<a>another", answer)
    with pytest.raises(PromptError):
        check("<a>an answer", said("user", f"a thought{close}\n\nan answer"))
    check("<a>yes", Message("assistant", (Block("thinking", "a thought"), *text_blocks("yes"))))


def test_texts_may_stand_in_another_order() -> None:
    tool = {"name": "f", "description": "A tool at the end."}
    turns = [said("system", "The system."), *(said("user", f"turn {number}") for number in range(2000))]
    prompt = "\n".join(message.texts[0] for message in turns[1:]) + "\nThe system. f A tool at the end."
    check(prompt, *turns, tools=(tool,))


def test_texts_without_number_are_looked_for_in_one_walk() -> None:
    """Quadratic, this would look through 20 GB."""
    turns = [said("user", f"{number} {'x' * 90}") for number in range(20_000)]
    check("".join(message.texts[0] for message in turns), *turns)


@pytest.mark.parametrize("kind", ["image", "file", "audio"])
def test_what_is_no_text_is_refused_by_name(kind: str) -> None:
    with pytest.raises(PromptError, match=rf"messages\.1 \(user\): it holds content of the kind '{kind}'"):
        check_readable([said("system", "x"), Message("user", (*text_blocks("y"), Block(kind, f"{kind} 12")))])
