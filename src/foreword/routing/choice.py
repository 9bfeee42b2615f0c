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
from foreword.routing.index import Depths
from foreword.routing.loads import Floats, Loads


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a prompt each replica has, in blocks from its beginning: an entry a replica.

    memory, lower
        In its memory; on the tier below it.
    flights
        Being computed there for other requests.
    """

    memory: Depths
    lower: Depths
    flights: Depths


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A replica and what it costs everywhere: an entry a replica; tokens of the prompt, and seconds.

    here
        What a replica has in memory or is computing.
    loaded
        What it would load of the rest, for that is quicker than computing it.
    """

    replica: int
    costs: Floats
    here: npt.NDArray[np.int64]
    loaded: npt.NDArray[np.int64]
    compute: Floats
    load: Floats
    queue: Floats


def choose(
    coverage: Coverage,
    tokens: int,
    block_size: int,
    takes: npt.NDArray[np.bool_],
    loads: Loads,
    salts: npt.NDArray[np.uint64],
    config: RouterConfig,
    now: float,
) -> Choice:
    """Choose among the replicas that can take a prompt of so many tokens, of which there is one at least.

    ``salts``: a hash of the request with each replica's name.
    """
    table, most = loads.table, max(tokens - 1, 0)  # the last token is always computed
    rate, load_rate = np.maximum(table["rate"], 1e-9), table["load_rate"]
    here = np.minimum(np.maximum(coverage.memory, coverage.flights) * block_size, most)
    below = np.minimum(coverage.lower * block_size, most) - here
    loaded = np.where(load_rate > rate, np.maximum(below, 0), 0)
    compute = (tokens - here - loaded) / rate
    load = loaded / np.maximum(load_rate, 1e-9)
    queue = loads.queue_seconds(now)
    costs = (compute + queue) * loads.slowdown() + load + loads.room_seconds()
    costs += config.thrift * compute + config.balance * tokens / rate * loads.above_mean(now)
    costs[~takes] = np.inf
    alike = np.flatnonzero(costs <= costs.min() + config.tie_seconds)
    replica = int(alike[salts[alike].argmax()])
    return Choice(replica, costs, here, loaded, compute, load, queue)
