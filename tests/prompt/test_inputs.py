"""The forms of a prompt, and what is said about those that are none."""

import pytest

from foreword.errors import PromptError
from foreword.events import ConversationState
from foreword.prompt import Prompt, parse_prompt
from foreword.tokens import pack_tokens


def test_the_three_forms() -> None:
    assert parse_prompt("hello") == Prompt("hello", None)
    assert parse_prompt({"prompt": "hello", "cache_salt": "a"}) == Prompt("hello", None, "a")
    assert parse_prompt({"prompt_token_ids": (1, 2)}) == Prompt(None, pack_tokens([1, 2]))


@pytest.mark.parametrize(("word", "said"), [("goes_on", ConversationState.GOES_ON), ("ended", "ended"), (None, None)])
def test_a_prompt_may_say_whether_its_conversation_goes_on(word: str | None, said: str | None) -> None:
    assert parse_prompt({"prompt": "hello", "cache_conversation": word}).conversation == said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "empty"),
        ({"prompt": ""}, "empty"),
        ({}, "neither"),
        ({"promt": "x"}, "Did you mean 'prompt'"),
        ({"prompt": 5}, "not int"),
        ({"prompt": "x", "cache_salt": ""}, "cache_salt"),
        ({"prompt": "x", "cache_salt": 7}, "cache_salt"),
        ({"prompt": "x", "cache_conversation": "over"}, "is 'over'; it must be 'goes_on' or 'ended'"),
        ({"prompt": "x", "cache_conversation": 1}, "cache_conversation' is 1"),
        (["a"], "not list"),
    ],
)
def test_bad_prompts_are_named(given: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        parse_prompt(given)  # type: ignore[arg-type]
