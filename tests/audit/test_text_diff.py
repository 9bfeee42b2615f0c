"""Comparing texts, and finding conversations again."""

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.audit.changing_values import Slots
from foreword.audit.conversations import KEPT, Conversations
from foreword.audit.recent import RecentRequests
from foreword.audit.request import MESSAGE, MOVED, LoggedRequest, Piece
from foreword.audit.text_diff import FirstForm, parts, without_order, without_spacing
from foreword.prompt.texts import common_prefix, common_suffix

words = st.text("ab ", max_size=12)


@given(words, words)
def test_common_prefix_and_suffix(one: str, two: str) -> None:
    head = common_prefix(one, two)
    assert one[:head] == two[:head]
    assert one[head : head + 1] != two[head : head + 1] or head == min(len(one), len(two))
    tail = common_suffix(one, two, head)
    assert tail <= min(len(one), len(two)) - head
    assert one[len(one) - tail :] == two[len(two) - tail :]


def test_parts_are_whole_words() -> None:
    one, two = "Dear Alice, read the rules.", "Dear Alan, read the rules."
    head, tail = parts(one, two)
    assert one[:head] == "Dear "
    assert one[len(one) - tail :] == " read the rules."


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("xyé", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", max_size=2), values, min_size=1, max_size=4), st.integers(0, 99))
def test_shuffled_json_means_the_same(value: dict[str, Any], seed: int) -> None:
    rng = random.Random(seed)

    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: shuffled(node[key]) for key in rng.sample(list(node), len(node))}
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    text, other = (f"Tools: {json.dumps(form)} Go." for form in (value, shuffled(value)))
    assert without_order(text) == without_order(other)
    assert without_spacing(json.dumps(value, indent=3)) == without_spacing(json.dumps(value))


@pytest.mark.parametrize("text", ["no JSON", "a { b", "{'a': 1}", "{" * 5_000])
def test_what_is_no_json_has_no_order(text: str) -> None:
    assert without_order(text) is None


def test_different_json_means_something_else() -> None:
    assert without_order('{"a": 1, "b": 2}') != without_order('{"b": 1, "a": 2}')
    assert without_order('{"a": [1, 2]}') != without_order('{"a": [2, 1]}')


def request(*texts: str, user: str = "u") -> LoggedRequest:
    pieces = tuple(Piece(MESSAGE, "text", "user", i, 0, text) for i, text in enumerate(texts))
    return LoggedRequest(1, "p", "m", pieces, user=user)


def test_a_turn_is_found_by_how_the_one_before_ended() -> None:
    turns: Conversations[str] = Conversations()
    turns.keep(request("Good morning, clerk!", "Hello", "one"), "A")
    turns.keep(request("Good morning, clerk!", "Hello", "two"), "B")
    link = turns.follow(request("Good morning, clerk!", "Hello", "one", "ok", "more"))
    assert link is not None
    assert (link.value, link.at, link.sure) == ("A", 3, True)
    assert turns.follow(request("Good morning, clerk!", "Hello", "one", "ok", user="v")) is None
    assert turns.follow(request("Hi", "Hello", "three", "ok")) is None


def test_where_the_end_was_changed_the_beginning_tells() -> None:
    turns: Conversations[str] = Conversations()
    turns.keep(request("Good morning, clerk!", "Hello", "one (be quick)"), "A")
    link = turns.follow(request("Good morning, clerk!", "Hello", "one", "ok"))
    assert link is not None
    assert (link.value, link.at, link.sure) == ("A", 3, False)


def test_what_a_fix_put_at_the_end_is_no_history() -> None:
    turns: Conversations[str] = Conversations()
    before = request("Good morning, clerk!", "one")
    moved = before.with_pieces((*before.pieces, before.pieces[-1]._replace(kind=MOVED, text="12:00")))
    turns.keep(moved, "A")
    link = turns.follow(request("Good morning, clerk!", "one", "two"))
    assert link is not None
    assert link.at == 2


def test_conversations_are_bounded() -> None:
    turns: Conversations[int] = Conversations()
    for i in range(3 * KEPT):
        turns.keep(request(f"message {i} of a long log", "x"), i)
    assert len(turns._turns) <= 2 * KEPT
    for i in range(50):
        turns.keep(request(f"another {i} of a long log", "x"), i, chars=2**22)
    assert turns._size <= 2**25
    many = tuple(Piece("message", "text", "user", i, 0, f"text {i} of many") for i in range(100_000))
    for i in range(50):
        end = Piece("message", "text", "user", 100_000, 0, f"end {i}")
        turns.keep(LoggedRequest(1, "p", "m", (*many, end)), i)
    assert turns._size <= 2**25
    assert len(turns._turns) < 50


def test_the_first_form_wins_and_the_oldest_are_forgotten() -> None:
    forms = FirstForm()
    assert forms.of("m", "first") == "first"
    assert forms.of("m", "second") == "first"
    for i in range(20):
        forms.of(str(i), "x" * 2**20)
    assert forms._chars <= 2**24
    assert forms.of("m", "third") == "third"


def test_slots_are_bounded_in_text() -> None:
    slots = Slots()
    for i in range(20):
        slots._add(f"system, block {i}", f"{i} " + "x" * 2**20, " the end")
    assert slots._chars <= 18 * 2**20
    assert slots._chars == sum(len(head) + len(tail) for known in slots._slots.values() for head, tail in known)
    for i in range(20):
        slots.forget(f"system, block {i}")
    assert slots._chars == 0


def test_wide_characters_take_their_room() -> None:
    """A text with one emoji takes four bytes a character."""
    recent = RecentRequests(2**20)
    for i in range(10):
        recent.keep(i, request("a" * 100_000 + "\U0001f600", str(i)), None)
    assert len(recent._requests) == 2


def test_a_slot_shrinks_to_what_is_fixed() -> None:
    """Two dates with the same year: the year belongs to the value once a third one shows it."""
    slots, rules = Slots(), "Follow the rules of the house. " * 4
    texts = [f"It is {day} today. {rules}" for day in ("Monday noon", "Monday night", "Friday night")]
    for old, new in itertools.pairwise(texts):
        slots._add("system, block 1", *_head_tail(old, new))
    piece = Piece("system", "text", "", 0, 0, texts[2])
    found = slots.value(piece)
    assert found is not None
    assert texts[2][slice(*found)].strip() == "Friday night"


def _head_tail(old: str, new: str) -> tuple[str, str]:
    head, tail = parts(old, new)
    return new[:head], new[len(new) - tail :]
