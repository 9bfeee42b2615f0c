"""How many replicas there are to be, by the requests in hand. Knows no Ray: Serve hands in what replicas record.

Serve's own count does not serve: it is of requests through its handles, and ours have a connection of their own.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

IN_HAND = "requests_in_hand"
"""What a replica records: its requests, running and waiting."""


class ScalingContext(Protocol):
    """What Serve hands in (``AutoscalingContext``)."""

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None:
        """By name and replica, over the time that Serve looks back."""
        ...

    @property
    def current_num_replicas(self) -> int:
        """Those that run."""
        ...

    @property
    def config(self) -> Any:
        """Serve's ``AutoscalingConfig``."""
        ...


def replicas_wanted(context: ScalingContext) -> tuple[int, dict[str, Any]]:
    """A policy of Serve's: so many replicas that each has ``target_ongoing_requests`` in hand; Serve keeps its bounds and
    delays. Where no replica has recorded anything, as many as there are."""
    recorded = (context.aggregated_metrics or {}).get(IN_HAND)
    if not recorded:
        return context.current_num_replicas, {}
    return math.ceil(sum(recorded.values()) / context.config.get_target_ongoing_requests()), {}
