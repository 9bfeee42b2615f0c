"""Which replica of a fleet takes a request: the index of prefixes, the work that waits, and the choice. Pure."""

from foreword.cache.kv_events import MEMORY
from foreword.routing.config import RouterConfig
from foreword.routing.records import (
    Applied,
    BlockHashes,
    Cleared,
    FeedCounts,
    Lost,
    Measured,
    News,
    Placement,
    Progress,
    Removed,
    ReplicaEvent,
    ReplicaFacts,
    ReplicaStats,
    Reservation,
    RoutedRequest,
    RouterStats,
    Stored,
    Tally,
    Why,
    replica_event,
)
from foreword.routing.router import Router

__all__ = [
    "MEMORY",
    "Applied",
    "BlockHashes",
    "Cleared",
    "FeedCounts",
    "Lost",
    "Measured",
    "News",
    "Placement",
    "Progress",
    "Removed",
    "ReplicaEvent",
    "ReplicaFacts",
    "ReplicaStats",
    "Reservation",
    "RoutedRequest",
    "Router",
    "RouterConfig",
    "RouterStats",
    "Stored",
    "Tally",
    "Why",
    "replica_event",
]
