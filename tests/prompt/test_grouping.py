"""Batches in the order of their prefix tree."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.errors import ParameterError, PromptError
from foreword.prompt.grouping import group_by_prefix

BATCHES = st.lists(st.lists(st.sampled_from([0, 1, 2, 255, 256, 70_000, 2**31 - 1]), min_size=1, max_size=8), max_size=12)


def test_what_shares_a_beginning_stands_together() -> None:
    prompts = [[7, 7, 1], [256, 5], [7, 7, 2], [256, 5, 9], [7, 7, 1]]
    grouping = group_by_prefix(prompts)
    assert grouping.order == (0, 4, 2, 1, 3)
    assert grouping.arrange("abcde") == ["a", "e", "c", "b", "d"]
    assert grouping.restore(grouping.arrange(prompts)) == prompts
    assert grouping.prompt_tokens == 14
    assert grouping.computed_tokens == 3 + 1 + 1 + 2 + 1  # the copy of the first prompt computes its last token again


def test_scopes_do_not_share_and_come_in_order() -> None:
    grouping = group_by_prefix([[1, 2], [1, 2], [1, 3]], scopes=["b", "a", "b"])
    assert grouping.order == (0, 2, 1)
    assert grouping.computed_tokens == 2 + 1 + 2


def test_nothing_and_empty_prompts() -> None:
    assert group_by_prefix([]) == group_by_prefix(iter([]))
    assert group_by_prefix([[], [1], []]).computed_tokens == 1


@pytest.mark.parametrize("prompts", ["abc", ["a text"], [1, 2], [[1], [-1]], [[1], [2**32]], [[1], None], [[[1]]]])
def test_what_is_no_list_of_token_ids_is_refused(prompts: Any) -> None:
    with pytest.raises(PromptError, match="is no list of token ids"):
        group_by_prefix(prompts)


def test_each_prompt_needs_a_scope() -> None:
    with pytest.raises(ParameterError, match="1 scopes for 2 prompts"):
        group_by_prefix([[1], [2]], scopes=["a"])


@given(BATCHES)
def test_computed_tokens_are_those_of_the_tree(prompts: list[list[int]]) -> None:
    grouping = group_by_prefix(prompts)
    nodes = {tuple(prompt[: end + 1]) for prompt in prompts for end in range(len(prompt))}
    seen: set[tuple[int, ...]] = set()
    whole = 0  # prompts that are in the tree already, in running order
    for prompt in grouping.arrange(prompts):
        whole += tuple(prompt) in seen
        seen |= {tuple(prompt[: end + 1]) for end in range(len(prompt))}
    assert grouping.computed_tokens == len(nodes) + whole
    assert sorted(grouping.order) == list(range(len(prompts)))
    assert grouping.restore(grouping.arrange(prompts)) == prompts


@given(BATCHES)
def test_a_cache_of_one_path_is_enough(prompts: list[list[int]]) -> None:
    """In a walk of the tree, what a prompt shares with any earlier one it shares with the one just before it."""
    running = group_by_prefix(prompts).arrange(prompts)

    def common(one: list[int], two: list[int]) -> int:
        return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))

    for place in range(1, len(running)):
        best = max(common(earlier, running[place]) for earlier in running[:place])
        assert common(running[place - 1], running[place]) == best
