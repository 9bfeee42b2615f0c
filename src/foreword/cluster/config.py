"""Options of a fleet."""

from dataclasses import dataclass

from foreword.config import require, require_types
from foreword.errors import ConfigError
from foreword.serving.config import ServerConfig


@dataclass(frozen=True)
class FleetConfig:
    """Options of what stands between clients and replicas. Times are in seconds."""

    silence_seconds: float = 2.0
    """A replica that has given no sign of life for so long is taken for dead; it gives several a second."""
    failover_seconds: float = 60.0
    """How long a request whose replica is gone waits for another one where none is ready."""
    retry_seconds: float = 1.0
    """When a client is told to come back if no replica is ready."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("silence_seconds", "failover_seconds", "retry_seconds"):
            value = getattr(self, name)
            require(0 < value < 1e6, f"{name} is {value}; it must be above 0.")


@dataclass(frozen=True)
class ClusterConfig(FleetConfig):
    """Options of a fleet on Ray Serve, beside those of its engines and its server."""

    replicas: int = 2
    """Engines, each with the model in its memory, in a process of its own."""
    max_replicas: int | None = None
    """With more work there are up to so many replicas, with less again ``replicas``; None: always ``replicas``."""
    requests_per_replica: float = 8.0
    """Requests in hand, running and waiting, that ask for one replica, where ``max_replicas`` lets their number change."""
    idle_seconds: float = 600.0
    """How long there must be too many replicas for the work before one of them ends."""
    drain_seconds: float = 30.0
    """How long a replica that is to end goes on with its answers; what is left then goes on at another one."""
    address: str | None = None
    """Address of the Ray cluster to run on (``auto``: the one that this machine belongs to); None: one is started here."""
    replica_cpus: float = 1.0
    """Processors that Ray is to count for each replica; it places them by that."""
    replica_threads: int = 1
    """Threads with which each replica computes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.replicas >= 1, f"replicas is {self.replicas}; at least 1.")
        most = self.max_replicas
        require(
            most is None or most >= self.replicas, f"max_replicas is {most}; it cannot be below replicas, {self.replicas}."
        )
        for name in ("requests_per_replica", "idle_seconds", "drain_seconds"):
            value = getattr(self, name)
            require(0 < value < 1e6, f"{name} is {value}; it must be above 0.")
        require(self.replica_cpus >= 0, f"replica_cpus is {self.replica_cpus}; 0 or more.")
        require(self.replica_threads >= 1, f"replica_threads is {self.replica_threads}; at least 1.")


def check_edge(server: ServerConfig) -> None:
    """ConfigError for options of a server that one over a fleet cannot honour."""
    if server.kv_events is not None:
        raise ConfigError(
            f"kv_events is {server.kv_events!r}: a fleet's caches are those of its replicas, and its own router reads what "
            "they tell. Servers that other routers choose among are started one by one: foreword serve --kv-events."
        )
