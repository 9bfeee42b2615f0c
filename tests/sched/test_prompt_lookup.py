"""What prompt lookup proposes: the longest match, periods, and a copy that is found again behind a change."""

from collections.abc import Sequence

import pytest

from foreword.sched import PromptLookup, Request
from foreword.testing.hash_kv import SPACE
from foreword.tokens import pack_tokens


def asked(ids: Sequence[int], more: int = 100) -> Request:
    return Request("r", pack_tokens(ids), SPACE, len(ids) + more, 0.0)


@pytest.mark.parametrize(
    ("ids", "proposed"),
    [
        ([1, 2, 3, 4, 1, 2], [3, 4, 1]),  # a pair that stood before
        ([1, 2, 3, 7, 1, 2, 4, 8, 7, 1, 2], [4, 8, 7]),  # three tokens speak for the later place
        ([9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], [3, 8, 1]),  # and here for the earlier one
        ([1, 2, 3, 4, 5, 3], [4, 5, 3]),  # a single token, where no pair is known
        ([5, 6, 5, 6], [5, 6, 5]),  # a period goes on
        ([1, 2, 3], []),
        ([1], []),
    ],
)
def test_what_followed_the_longest_match(ids: list[int], proposed: list[int]) -> None:
    assert list(PromptLookup().propose(asked(ids), 3).tokens) == proposed


def test_tokens_that_come_one_by_one_are_as_if_they_had_been_there() -> None:
    ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7, 9, 5]
    for length in range(4, len(ids)):
        whole, grown, lookup = asked(ids[:length]), asked(ids[:3]), PromptLookup()
        lookup.propose(grown, 0)
        for token in ids[3:length]:
            grown.append(token)
        expected = PromptLookup().propose(whole, 4)
        assert tuple(lookup.propose(grown, 4).tokens) == tuple(expected.tokens)


def test_a_copy_that_changes_a_name_is_found_again_behind_it() -> None:
    line = [10, 50, 11, 12]
    text = [token for number in range(20) for token in (*line, 100 + number)]
    request, lookup = asked([*text, 7]), PromptLookup()
    copied = [51 if token == 50 else token for token in text]
    right = 0
    for place, token in enumerate(copied[:-1]):
        request.append(token)
        proposal = lookup.propose(request, 1)
        right += bool(proposal.tokens) and proposal.tokens[0] == copied[place + 1]
    assert right > 0.5 * len(copied), "of five tokens a line the three behind neither the name nor the number"


def test_an_ended_request_is_forgotten() -> None:
    request, lookup = asked([1, 2, 1, 2]), PromptLookup()
    lookup.propose(request, 1)
    lookup.ended(request)
    lookup.ended(request)
