"""How many replicas there are to be."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from foreword.cluster.config import ClusterConfig
from foreword.cluster.scaling import IN_HAND, replicas_wanted
from foreword.errors import ConfigError


@dataclass(frozen=True)
class Bounds:
    """As Serve's own configuration says it."""

    target: float = 8.0

    def get_target_ongoing_requests(self) -> float:
        return self.target


@dataclass(frozen=True)
class Context:
    """What Serve hands in."""

    aggregated_metrics: dict[str, dict[str, float]] | None
    current_num_replicas: int = 2
    config: Any = field(default_factory=Bounds)


@pytest.mark.parametrize(("in_hand", "wanted"), [((0, 0), 0), ((8, 8), 2), ((12, 5), 3), ((40, 0), 5), ((3.5, 0), 1)])
def test_they_follow_the_requests_in_hand(in_hand: tuple[float, ...], wanted: int) -> None:
    recorded = {IN_HAND: {str(at): each for at, each in enumerate(in_hand)}}
    assert replicas_wanted(Context(recorded))[0] == wanted


@pytest.mark.parametrize("recorded", [None, {}, {IN_HAND: {}}])
def test_who_hears_nothing_changes_nothing(recorded: dict[str, dict[str, float]] | None) -> None:
    assert replicas_wanted(Context(recorded)) == (2, {})


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_replicas is 2; it cannot be below replicas, 3"):
        ClusterConfig(replicas=3, max_replicas=2)
    with pytest.raises(ConfigError, match="requests_per_replica is 0"):
        ClusterConfig(requests_per_replica=0)
