"""Options of a fleet: how many replicas, who routes, when requests come."""

from dataclasses import dataclass

from foreword.config import require, require_types
from foreword.errors import ConfigError
from foreword.replay.fleet_routers import ROUTERS

TRACE, LOAD, POISSON = "trace", "load", "poisson"


@dataclass(frozen=True)
class FleetConfig:
    """Which fleets a trace is replayed through: every number of replicas with every router."""

    replicas: str = ""
    """Numbers of replicas, with commas: 8,64,256. Each replica has a cache of --blocks. Empty: one engine, no router."""
    router: str = "prefix,round-robin,least-loaded,random"
    """Routers, with commas: `prefix` is that of `foreword.routing`; the others know nothing of prefixes."""
    arrivals: str = TRACE
    """When requests come to a fleet: `trace`, at their times; `load:0.7`, at their times, but so fast that the prompt tokens
    which one cache without bounds would not save are 0.7 of what all replicas can compute; `poisson:0.7`, as fast, by
    chance."""
    crowds: int = 1
    """How many crowds play the trace, each ten seconds of it behind the one before, sharing nothing with each other: a
    larger fleet gets as much work a replica as a small one."""
    scale: int = 1
    """Tokens of the trace that one simulated token stands for: a fleet is simulated about so many times faster, in blocks
    and steps that are coarser by as much."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.scale >= 1, f"scale is {self.scale}; it must be at least 1.")
        require(self.crowds >= 1, f"crowds is {self.crowds}; it must be at least 1.")
        self.sizes()
        self.routers()
        self.load()

    def sizes(self) -> tuple[int, ...]:
        """The numbers of replicas, ascending."""
        try:
            sizes = sorted({int(part) for part in self.replicas.split(",") if part.strip()})
        except ValueError:
            raise ConfigError(f"replicas is {self.replicas!r}; it must be whole numbers with commas, as 8,64.") from None
        require(not sizes or 1 <= sizes[0] <= sizes[-1] <= 4096, f"replicas is {self.replicas!r}; each must be 1 to 4096.")
        return tuple(sizes)

    def routers(self) -> tuple[str, ...]:
        """The names of the routers."""
        names = tuple(dict.fromkeys(part.strip() for part in self.router.split(",")))
        for name in names:
            require(name in ROUTERS, f"router is {name!r}; known: {', '.join(ROUTERS)}.")
        return names

    def load(self) -> tuple[str, float]:
        """The kind of arrivals, and the load; 0 where they come at their times."""
        kind, _, share = self.arrivals.partition(":")
        try:
            load = float(share) if kind in (LOAD, POISSON) else 0.0
        except ValueError:
            load = -1.0
        fits = 0 < load < float("inf") if kind in (LOAD, POISSON) else self.arrivals == TRACE
        require(fits, f"arrivals is {self.arrivals!r}; it must be trace, load:SHARE or poisson:SHARE, as load:0.7.")
        return kind, load
