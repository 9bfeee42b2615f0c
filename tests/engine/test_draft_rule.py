"""How many tokens are drafted follows from what steps took and how often drafts were right."""

import pytest

from foreword.engine.draft_rule import StepCost, worthwhile


def costs(seconds_a_row: float, first: float = 1.0) -> StepCost:
    """Of a machine on which every further row takes so long; some numbers of rows were seen."""
    cost = StepCost()
    for _ in range(200):
        for rows in (1, 2, 4, 8, 16, 33):
            cost.observe(rows, first + seconds_a_row * (rows - 1))
    return cost


@pytest.mark.parametrize("slope", [0.0, 0.03, 0.1, 0.5, 1.0])
def test_costs_are_learnt_and_lie_between_what_was_seen(slope: float) -> None:
    cost = costs(slope)
    for rows in (2, 3, 8, 12, 16, 30):
        assert cost.relative(rows) / cost.relative(1) == pytest.approx(1 + slope * (rows - 1), rel=0.1)


def test_a_machine_that_gets_slower_for_a_while_is_no_other_machine() -> None:
    cost = costs(0.1)
    for _ in range(50):
        cost.observe(1, 3.0)
    assert cost.relative(8) / cost.relative(1) > 0.6 * 1.7


@pytest.mark.parametrize(
    ("slope", "chance", "least", "most"),
    [(0.06, 0.99, 20, 32), (0.06, 0.5, 2, 5), (0.06, 0.02, 0, 0), (1.0, 0.95, 0, 0), (0.0, 0.5, 20, 32)],
)
def test_as_many_are_drafted_as_pay(slope: float, chance: float, least: int, most: int) -> None:
    (length,) = worthwhile(costs(slope), 1, [(chance, 32)])
    assert least <= length <= most


def test_the_likeliest_come_first() -> None:
    lengths = worthwhile(costs(0.06), 4, [(0.9, 32), (0.3, 32), (0.9, 2)])
    assert lengths[0] > lengths[1]
    assert lengths[2] == 2


def test_nothing_is_drafted_where_nothing_is_proposed() -> None:
    assert worthwhile(StepCost(), 3, []) == []
