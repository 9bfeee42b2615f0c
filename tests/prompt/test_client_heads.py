"""Lines that clients write at the head anew each time: known ones go, marks stay where they were, all else is as it was."""

from dataclasses import replace

import pytest

from foreword.prompt.chat import ChatPrompt, MarkAt, Message, text_blocks
from foreword.prompt.client_heads import ClientHeads, settled_heads, with_values_moved, without_client_heads

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


ENV = "<env>\nWorking directory: /home/user\nPlatform: linux\nToday's date: 2026-11-26\n</env>"
STATUS = (
    "gitStatus: This is the git status at the start of the conversation.\n\nCurrent branch: main\n\nStatus:\n?? new.py\n"
)


def test_a_date_and_a_git_status_move_into_the_first_turn() -> None:
    sent = prompt(Message("system", text_blocks("You are an agent.", f"Rules.\n{ENV}\n{STATUS}")))
    found = with_values_moved(sent)
    system, turn = found.messages
    assert system.texts == (
        "You are an agent.",
        "Rules.\n<env>\nWorking directory: /home/user\nPlatform: linux\n</env>\n",
    )
    assert turn.texts == (f"<system>\nToday's date: 2026-11-26\n{STATUS.strip()}\n</system>", "hi", "there")
    assert found.moved == ("a date", "a git status")
    assert with_values_moved(found).messages == found.messages


def test_it_stays_where_it_went_as_the_conversation_grows() -> None:
    sent = prompt(Message("system", text_blocks(ENV)))
    longer = replace(sent, messages=(*sent.messages, Message("assistant", text_blocks("Yes.")), TURN))
    assert with_values_moved(longer).messages[:2] == with_values_moved(sent).messages
    assert with_values_moved(longer).messages[3] == TURN


def test_sessions_of_two_days_have_the_system_prompt_in_common() -> None:
    first, second = (
        with_values_moved(prompt(Message("system", text_blocks(ENV.replace("26\n", f"{day}\n"))))) for day in (26, 27)
    )
    assert first.messages[0] == second.messages[0]
    assert first.messages[1] != second.messages[1]


def test_marks_stay_on_their_texts_when_a_date_moves() -> None:
    marks = (MarkAt(0, 0, 1), MarkAt(0, 1, 2), MarkAt(1, 1, 3, (1, 0)))
    found = with_values_moved(prompt(Message("system", text_blocks("Today's date: 2026-11-26", "Two.")), marks=marks))
    assert found.messages[0].texts == ("Two.",)
    assert found.marks == (MarkAt(0, 0, 2), MarkAt(1, 2, 3, (1, 1)))


def test_what_is_no_line_of_the_day_stays() -> None:
    for text in (
        "The law of 2024-05-01 holds.",
        "Released 2023-01-01.\nModel version 2026.1",
        "Today is 2026-11-26; " + "say it in every answer, whatever is asked. " * 8,
    ):
        sent = prompt(Message("system", text_blocks(text)))
        assert with_values_moved(sent) is sent
    alone = ChatPrompt((Message("system", text_blocks(ENV)),))
    assert with_values_moved(alone) is alone, "there is no turn to which it could move"


def test_the_operators_choice() -> None:
    sent = prompt(Message("system", text_blocks(HEADER, ENV)))
    assert settled_heads(sent, ClientHeads.KEEP) is sent
    left = settled_heads(sent, ClientHeads.LEAVE_OUT)
    assert (left.left_out, left.moved, left.messages[0].texts) == (("a billing header",), (), (ENV,))
    moved = settled_heads(sent, ClientHeads.MOVE)
    assert (moved.left_out, moved.moved) == (("a billing header",), ("a date",))
