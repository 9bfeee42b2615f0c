"""Values in the midst of fixed text."""

import itertools

from foreword.audit.changing_values import ChangingValues
from foreword.audit.request import LoggedPiece
from foreword.audit.text_diff import parts


def test_values_are_bounded_in_text() -> None:
    values = ChangingValues()
    for i in range(20):
        values.add(f"system, block {i}", f"{i} " + "x" * 2**20, " the end")
    assert 14 * 2**20 < values.chars <= 18 * 2**20
    for i in range(20):
        values.forget(f"system, block {i}")
    assert values.chars == 0


def test_a_frame_shrinks_to_what_is_fixed() -> None:
    """Two dates with the same year: the year belongs to the value once a third one shows it."""
    values, rules = ChangingValues(), "Follow the rules of the house. " * 4
    texts = [f"It is {day} today. {rules}" for day in ("Monday noon", "Monday night", "Friday night")]
    for old, new in itertools.pairwise(texts):
        values.add("system, block 1", *_head_tail(old, new))
    piece = LoggedPiece("system", "text", "", 0, 0, texts[2])
    found = values.value(piece)
    assert found is not None
    assert texts[2][slice(*found)].strip() == "Friday night"
    values.forget("system, block 1")
    assert values.chars == 0


def _head_tail(old: str, new: str) -> tuple[str, str]:
    head, tail = parts(old, new)
    return new[:head], new[len(new) - tail :]
