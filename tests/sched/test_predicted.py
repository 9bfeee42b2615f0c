"""What is drafted from a client's prediction: from its beginning, behind a change again, and no more than it has."""

from collections.abc import Sequence

import pytest

from foreword.sched import Predicted, Request
from foreword.testing.hash_kv import SPACE
from foreword.tokens import pack_tokens

PROMPT = [1, 2, 3]


def proposals(predicted: Sequence[int], answer: Sequence[int], most: int = 3) -> list[list[int]]:
    """What was proposed behind each token of an answer."""
    predictions, drafter = pack_tokens(predicted), Predicted()
    request = Request("r", pack_tokens(PROMPT), SPACE, len(PROMPT) + len(answer), 0.0, predicted=predictions)
    found = []
    for token in answer:
        request.append(token)
        found.append(list(drafter.propose(request, most).tokens))
    return found


def test_an_answer_that_is_what_was_predicted_is_read_on() -> None:
    text = list(range(10, 18))
    assert proposals(text, text) == [
        [11, 12, 13],
        [12, 13, 14],
        [13, 14, 15],
        [14, 15, 16],
        [15, 16, 17],
        [16, 17],
        [17],
        [],
    ]


def test_behind_a_change_it_is_found_again() -> None:
    text = [10, 11, 12, 13, 14, 15, 16, 17]
    assert proposals(text, [10, 11, 99, 98, 13, 14])[2:] == [[], [], [14, 15, 16], [15, 16, 17]]


def test_what_stands_before_or_behind_the_prediction_is_found_too() -> None:
    assert proposals([10, 11, 12], [50, 51, 10, 11]) == [[], [], [11, 12], [12]]
    assert proposals([50, 51, 10, 11, 12], [10, 11]) == [[11, 12], [12]]


@pytest.mark.parametrize("predicted", [[], [10], [10, 11]])
def test_a_short_prediction_is_none_of_what_the_answer_repeats(predicted: list[int]) -> None:
    assert proposals(predicted, [60, 61, 60, 61, 60, 61]) == [[]] * 6


def test_tokens_that_came_at_once_are_as_if_they_had_come_one_by_one() -> None:
    """As after a failover."""
    text, answer = [10, 11, 12, 13, 14, 15], [10, 11, 99, 13]
    request = Request("r", pack_tokens(PROMPT), SPACE, 20, 0.0, predicted=pack_tokens(text))
    for token in answer:
        request.append(token)
    assert list(Predicted().propose(request, 3).tokens) == proposals(text, answer)[-1] == [14, 15]


def test_an_ended_request_is_forgotten() -> None:
    request, drafter = Request("r", pack_tokens(PROMPT), SPACE, 9, 0.0, predicted=pack_tokens([4, 5])), Predicted()
    request.append(4)
    drafter.propose(request, 1)
    drafter.ended(request)
    drafter.ended(request)
