"""Why an earlier prompt was not reused: the first thing that makes another prefix, and nothing that makes none."""

from dataclasses import replace
from typing import Any

from foreword.account import Account, Source
from foreword.prompt.chat import ChatPrompt, Message, text_blocks
from foreword.serving.diagnosis import COMPACTED, AnsweredRequest, diagnose
from foreword.serving.neutral import Changed, Diagnosis, NeutralRequest, TokenUsage
from foreword.tokens import pack_tokens
from serving.fake_front import neutral


def asked(*said: str, model: str = "m", **settings: Any) -> NeutralRequest:
    messages = tuple(Message(("user", "assistant")[place % 2], text_blocks(text)) for place, text in enumerate(said))
    return replace(neutral(), prompt=ChatPrompt(messages), model=model, settings=settings)


def _account(prompt: int, reused: int) -> Account:
    return Account(prompt, {Source.CACHED: reused, Source.COMPUTED: prompt - reused})


def compared(before: NeutralRequest, old: list[int], now: NeutralRequest, new: list[int], reused: int) -> Diagnosis:
    usage = TokenUsage(_account(len(new), reused), 0)
    return diagnose(now, pack_tokens(new), usage, AnsweredRequest(before, pack_tokens(old)))


def test_another_name_of_the_model_or_effort_without_another_prefix_is_nothing() -> None:
    before, now = asked("a", reasoning_effort="low"), asked("a", "b", "c", model="claude-haiku", reasoning_effort="high")
    assert compared(before, [1, 2], now, [1, 2, 3, 4], 2).changed is Changed.NOTHING


def test_an_effort_that_makes_another_prefix_is_named() -> None:
    found = compared(asked("a", reasoning_effort="low"), [1, 7, 2], asked("a", reasoning_effort="high"), [1, 8, 2], 1)
    assert (found.changed, found.setting) == (Changed.SETTINGS, "reasoning_effort")


def test_a_conversation_that_was_compacted_is_told_from_one_that_was_changed() -> None:
    long = asked("a", "b", "c", "d", "e")
    found = compared(long, [1, 2, 3, 4, 5], asked("summary", "b", "e"), [9, 2, 5], 0)
    assert (found.changed, found.setting) == (Changed.MESSAGES, COMPACTED)
    back = compared(long, [1, 2, 3, 4, 5], asked("a", "b", "x"), [1, 2, 9], 2)
    assert (back.changed, back.setting) == (Changed.MESSAGES, "")
