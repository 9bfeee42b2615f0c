"""Lines that clients write at the head anew each time: known ones go, marks stay where they were, all else is as it was."""

from dataclasses import replace

import pytest

from foreword.prompt.chat import ChatPrompt, MarkAt, Message, text_blocks
from foreword.prompt.client_heads import without_client_heads

HEADER = "x-anthropic-billing-header: cc_version=2.1.197.84c; cc_entrypoint=sdk-cli;"
TURN = Message("user", text_blocks("hi", "there"))


def prompt(*system: Message, marks: tuple[MarkAt, ...] = ()) -> ChatPrompt:
    return ChatPrompt((*system, TURN), marks=marks)


def test_a_block_that_is_a_header_goes_and_marks_stay_on_their_texts() -> None:
    marks = (MarkAt(None, 0, 1), MarkAt(0, 0, 2), MarkAt(0, 2, 3, (0, 1)), MarkAt(1, 1, 4, (0, 0)))
    found = without_client_heads(prompt(Message("system", text_blocks(HEADER, "One.", "Two.")), marks=marks))
    assert found.messages == (Message("system", text_blocks("One.", "Two.")), TURN)
    assert found.marks == (MarkAt(None, 0, 1), MarkAt(0, 1, 3, (0, 0)), MarkAt(1, 1, 4, None))
    assert found.left_out == ("a billing header",)


def test_a_message_that_is_nothing_else_goes_with_it() -> None:
    sent = prompt(Message("system", text_blocks(HEADER)), marks=(MarkAt(0, 0, 1), MarkAt(1, 1, 2)))
    found = without_client_heads(sent)
    assert (found.messages, found.marks) == ((TURN,), (MarkAt(0, 1, 2),))


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_first_lines_of_a_longer_text_go(role: str) -> None:
    found = without_client_heads(prompt(Message(role, text_blocks(f"\n{HEADER}\n{HEADER}\n\nYou are an agent.\nToo."))))
    assert found.messages[0].texts == ("You are an agent.\nToo.",)
    assert found.left_out == ("a billing header", "a billing header")


def test_two_sessions_begin_alike() -> None:
    first, second = (
        without_client_heads(prompt(Message("system", text_blocks(HEADER.replace("84c", suffix), "You are an agent."))))
        for suffix in ("84c", "bb9")
    )
    assert first == second


def test_all_else_stays_as_it_is() -> None:
    for sent in (
        prompt(Message("system", text_blocks("One.", f"About {HEADER}"))),
        replace(prompt(), messages=(TURN, Message("system", text_blocks(HEADER)))),
        replace(prompt(), messages=(Message("user", text_blocks(HEADER)),)),
    ):
        assert without_client_heads(sent) is sent
