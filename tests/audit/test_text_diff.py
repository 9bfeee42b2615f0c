"""Comparing texts."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.audit.text_diff import FirstForm, parts, without_order, without_spacing

words = st.text("ab ", max_size=12)


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


def test_the_first_form_wins_and_the_oldest_are_forgotten() -> None:
    forms = FirstForm()
    assert forms.of("m", "first") == "first"
    assert forms.of("m", "second") == "first"
    for i in range(20):
        forms.of(str(i), "x" * 2**20)
    assert forms.chars <= 2**24
    assert forms.of("m", "third") == "third"
