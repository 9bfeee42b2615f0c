"""The rule by which a replica is chosen: the place where a request costs least.

    cost  =  (tokens to compute / prefill rate  +  work that waits there)  x  slowdown by those that generate
             +  tokens to load / load rate  +  time until there is room
             +  thrift x tokens to compute / prefill rate
             +  balance x tokens / prefill rate x (work placed there of late / the mean of all - 1)

What a replica has, and what it is computing for others, is not to be computed again; what it is computing is waited for, as
part of the work that waits there. Replicas whose costs differ by less than ``tie_seconds`` are alike: a hash of the request
chooses among them, the same in every router.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreword.routing.config import RouterConfig
from foreword.routing.loads import Floats, Loads
from foreword.routing.reach import Depths, Reach, depths


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far into a prompt replicas have it.

    memory
        In their memory.
    flights
        There or about to be: computed there for other requests.
    lower
        On the tier below, in blocks, an entry a replica; None: nobody has anything there.
    """

    memory: Reach
    flights: Reach
    lower: Depths | None


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A replica and what it costs. Costs in seconds and work that waits: an entry a replica.

    holder
        Among those that do not refuse, the one that has most of the prompt: the chosen one if no other has more.
    here, loaded
        Tokens that the chosen replica has in memory or is computing; of the rest, those that it loads.
    available
        Tokens that the holder has or loads.
    compute, load
        Seconds of it.
    """

    replica: int
    holder: int
    here: int
    loaded: int
    available: int
    compute: float
    load: float
    costs: Floats
    queue: Floats


def choose(
    coverage: Coverage,
    tokens: int,
    block_size: int,
    refuses: npt.NDArray[np.bool_],
    loads: Loads,
    salts: npt.NDArray[np.uint64],
    config: RouterConfig,
    now: float,
) -> Choice:
    """Choose among the replicas that do not refuse a prompt of so many tokens; there is one at least.

    ``salts``: hashes of the replicas' names with the request.
    """
    table, most = loads.table, max(tokens - 1, 0)  # the last token is always computed
    reach = [(min(blocks * block_size, most), mask) for blocks, mask in sorted(coverage.memory + coverage.flights)]
    held = here = depths(reach, len(refuses))
    if coverage.lower is not None:
        below = np.minimum(coverage.lower * block_size, most)
        held = np.where(table["token_load_seconds"] > 0, np.maximum(here, below), here)
    compute, queue = (tokens - held) * table["token_seconds"], loads.queue_seconds(now)
    costs = (compute + queue) * table["slowdown"] + config.thrift * compute
    costs += loads.standing_seconds(config.balance * tokens, now)
    if held is not here:
        costs += (held - here) * table["token_load_seconds"]
    costs[refuses], held[refuses] = np.inf, 0
    alike = (costs <= costs[costs.argmin()] + config.tie_seconds).nonzero()[0]
    replica = int(alike[0] if len(alike) == 1 else alike[_spread(salts[alike]).argmax()])
    holder = int(held.argmax())
    loaded = int(held[replica] - here[replica])
    return Choice(
        replica=replica,
        holder=holder if held[holder] > held[replica] else replica,
        here=int(here[replica]),
        loaded=loaded,
        available=int(max(held[holder], held[replica])),
        compute=float(compute[replica]),
        load=loaded * float(table["token_load_seconds"][replica]),
        costs=costs,
        queue=queue,
    )


def _spread(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """64-bit words spread over all bits (the finalizer of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
