"""Eviction policies beside the offline optimum, on public traces at eight sizes of cache.

    python benchmarks/policies.py TRACES [--traces conversation,agents,coding] [--json FILE] > FILE.md

Each trace goes through the cache alone (`foreword replay --loop cache`) once a size and policy, and again with every request
saying whether its conversation goes on (`--told`). The replays run side by side, one a core. A table a trace: the share of
the prompt tokens that the cache had, and in brackets how much of the way from LRU to the optimum that is, where LRU has less
than 0.9 of the optimum. The JSON is what the chart is drawn from (`figures.py add`).
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foreword.cache import CacheConfig
from foreword.cache.eviction import POLICIES
from foreword.replay import TraceRequest, grid, optima, read_trace, replay_cache
from foreword.replay.told import goes_on, told

OPTIMUM = "optimum"
NARROW = 0.9  # of the optimum: where LRU has more, there is little to close


@dataclass(frozen=True)
class Load:
    """A trace, tokens a block of the cache, how many of them one of ours stands for, and the sizes in millions of tokens."""

    file: str
    block: int
    scale: int
    sizes: tuple[float, ...]

    def cache(self, size: float, policy: str) -> CacheConfig:
        """A cache of so many million tokens."""
        base = CacheConfig(block_size=self.block // self.scale, ghost_ratio=0.0)
        return grid(base, [int(size * 1e6 / self.block)], [policy])[0]

    def requests(self, folder: Path) -> Iterator[TraceRequest]:
        """Opened anew."""
        with (folder / self.file).open("rb") as stream:
            yield from read_trace(stream).requests


LOADS = {
    "conversation": Load("mooncake_conversation_trace.jsonl.gz", 512, 1, (0.5, 1, 2, 2.8, 4, 8, 16, 32)),
    "agents": Load("lmcache_agent_64.jsonl.gz", 64, 1, (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.4)),
    "coding": Load("claude_code_sessions_64.rle.jsonl.gz", 512, 64, (1, 1.5, 2.2, 3, 4, 6.5, 9, 12)),
}
KINDS = (*product(POLICIES, (False,)), ("lru", True), ("learned", True))
"""Policies, and whether clients say what goes on."""


def bits(folder: Path, load: Load) -> npt.NDArray[np.bool_]:
    """Of each request whether its conversation goes on."""
    return goes_on(load.requests(folder))


def hit_rate(folder: Path, load: Load, size: float, policy: str, going_on: npt.NDArray[np.bool_] | None) -> float:
    """The share of prompt tokens that one cache had; with ``going_on`` its clients say so."""
    requests = load.requests(folder)
    if going_on is not None:
        requests = told(requests, going_on)
    return replay_cache(requests, load.cache(size, policy), scale=load.scale).hit_rate


def best(folder: Path, load: Load) -> list[float]:
    """What a cache of each size could have had."""
    cells = optima(load.requests(folder), [CacheConfig(num_blocks=int(size * 1e6), block_size=1) for size in load.sizes])
    return [cell.hit_rate for cell in cells]


def sweep(pool: ProcessPoolExecutor, folder: Path, load: Load) -> dict[str, list[float]]:
    """Hit rates of every kind of cache, and of the optimum, by size."""
    going_on, optimum = pool.submit(bits, folder, load), pool.submit(best, folder, load)
    cells = {}
    for policy, says in KINDS:
        name, said = (f"{policy}, told", going_on.result()) if says else (policy, None)
        cells[name] = [pool.submit(hit_rate, folder, load, size, policy, said) for size in load.sizes]
    return {name: [cell.result() for cell in row] for name, row in cells.items()} | {OPTIMUM: optimum.result()}


def table(name: str, load: Load, rates: dict[str, list[float]]) -> str:
    """A trace's rates as markdown: a size a row."""
    kinds = [*rates]
    lines = [f"| {name}: M tokens of cache | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for place, size in enumerate(load.sizes):
        low, high = rates["lru"][place], rates[OPTIMUM][place]
        cells = []
        for kind in kinds:
            rate = rates[kind][place]
            closed = f" ({(rate - low) / (high - low):.0%})" if low < NARROW * high and kind not in ("lru", OPTIMUM) else ""
            cells.append(f"{rate:.1%}{closed}")
        lines.append(f"| {size:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--traces", default=",".join(LOADS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with ProcessPoolExecutor() as pool:
        for name in options.traces.split(","):
            load = LOADS[name]
            rates = sweep(pool, options.folder, load)
            found.append({"trace": name, "sizes": load.sizes, "rates": rates})
            print(table(name, load, rates), end="\n\n", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"sweeps": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
