"""The costs that bench writes are those that replay reads."""

import pytest

from foreword.bench.step_costs import StepCosts
from foreword.events import AllBlocksCleared, StepFinished
from foreword.replay import costs_from_report


def test_what_was_measured_is_read_back_as_a_cost_model() -> None:
    costs = StepCosts()
    costs(AllBlocksCleared())
    for number in range(200):
        end, generating = 10 * (number % 7), number % 5
        seconds = 0.01 + 0.002 * end + 0.001 * generating
        costs(StepFinished(seconds, ((0, end),) if end else (), generating))
    found = costs_from_report({"model": "tiny", "cost_model": costs.as_json()}, "bench.json")
    assert found.model.per_step == pytest.approx(0.01, rel=0.05)
    assert found.model.per_token == pytest.approx(0.002, rel=0.05)
    assert found.model.per_generating == pytest.approx(0.001, rel=0.05)
    assert "steps measured by foreword bench on tiny" in found.origin
