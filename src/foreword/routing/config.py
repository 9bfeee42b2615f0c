"""Options of the router."""

from dataclasses import dataclass

from foreword.config import require, require_types


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """Options of a Router."""

    expected_blocks: int = 65_536
    """Blocks of the whole fleet for which the index has room at start; it doubles when it is full."""
    thrift: float = 8.0
    """Seconds that a second of computing counts as, beside the one for which its request waits: what is computed twice in a
    fleet is time that others wait for."""
    balance: float = 6.0
    """How many times the seconds that a request takes without a cache count for a replica that has had twice the mean of the
    work, a tenth of that for one that has had a tenth more. It decides where replicas are else nearly alike, so that over
    time all get as much."""
    balance_seconds: float = 3600.0
    """After how many seconds placed work counts half of that."""
    tie_seconds: float = 0.001
    """Replicas whose costs differ by less are alike: a hash of the request chooses among them."""
    silent_after: int = 8
    """A replica that computed so many prompts without telling of one event counts as silent: what is placed there is then
    taken for cached there."""
    stored_blocks: int = 2_000_000
    """Blocks that a store may be known to have; with more all are forgotten, and known again as they are used."""
    kept_batches: int = 10_000
    """Batches of events that are kept while a snapshot is awaited."""
    forget_seconds: float = 600.0
    """A reservation that another router told of is forgotten after so long, in case that router has died."""
    retry_seconds: float = 1.0
    """When a client is told to come back if no replica is ready."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("expected_blocks", "silent_after", "stored_blocks", "kept_batches"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}; it must be at least 1.")
        for name in ("thrift", "balance", "tie_seconds"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"{name} is {value}; it cannot be negative.")
        for name in ("balance_seconds", "forget_seconds", "retry_seconds"):
            value = getattr(self, name)
            require(0 < value < float("inf"), f"{name} is {value}; it must be more than 0.")
