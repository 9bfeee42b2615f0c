"""What the cache's bookkeeping costs per request, beside its floor, on a real request trace.

    python benchmarks/cache_core.py TRACE [--requests 6000] [--tokens 8000000] [--small 1000000] [--length 100000]

TRACE is mooncake_conversation_trace.jsonl.gz. Every block id of the trace stands for 512 token ids of its own.

Ours: everything the cache does for one request, one request after another (``foreword.replay.process``): a new ledger,
match, reserve (eviction included), plan of the whole prompt, commit, release. Python's garbage collector runs as it does
when serving.

Floor: what no index can avoid. The tokens that hit are compared with a copy stored by an earlier request (one memcmp),
and the prompt is stored once (one memcpy) into memory that stays: the last prompts are kept, as many tokens as the cache
keeps (cached ones and ghosts), so that the memory is fresh, page faults included, until that many are stored, and cold
but reused after. What leaves the store is freed outside the clock.

The two run in separate passes over the same prompts, which wait in a queue of 32, as in a server: neither the prompt nor
what was stored is in the processor's nearest cache, and what is stored does not land in memory that was just in use.
Every pass is a process of its own. There are ``--repeat`` of them; a request's time is the median of its passes. The
requests before the cache is full once are left out. The clock is the CPU time of the thread, so that what else runs on
the machine counts only by the processor's caches that it empties.
"""

import argparse
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from foreword.cache import CacheConfig, PrefixCache
from foreword.replay import SPACE, TraceRequest, process, read_trace
from foreword.tokens import TOKEN_BYTES

TRACE_BLOCK = 512
QUEUE = 32


@dataclass
class Row:
    """Requests that are reported together: microseconds and tokens, one entry a request."""

    name: str
    ours: npt.NDArray[np.float64]
    floor: npt.NDArray[np.float64]
    prompt: npt.NDArray[np.int64]
    hit: npt.NDArray[np.int64]

    def only(self, name: str, chosen: npt.NDArray[np.bool_]) -> "Row":
        """Some of the requests, under another name."""
        return Row(name, self.ours[chosen], self.floor[chosen], self.prompt[chosen], self.hit[chosen])

    def show(self) -> str:
        """One line of the table."""
        ours, floor = self.ours, self.floor
        return (
            f"| {self.name} | {len(ours):,} | {self.prompt.mean():,.0f} | {self.hit.sum() / self.prompt.sum():.1%} | "
            f"{np.median(ours):.0f} / {ours.mean():.0f} / {np.percentile(ours, 99):.0f} | "
            f"{np.median(floor):.0f} / {floor.mean():.0f} / {np.percentile(floor, 99):.0f} | "
            f"{np.median(ours) / np.median(floor):.2f} | {ours.mean() / floor.mean():.2f} |"
        )


def trace_prompts(path: Path, count: int) -> list[TraceRequest]:
    """The first prompts of the trace."""
    with path.open("rb") as stream:
        return list(islice(read_trace(stream).requests, count))


def long_prompts(trace: list[TraceRequest], count: int, length: int) -> list[TraceRequest]:
    """Prompts of one length from the blocks of the trace; every second one shares the first half of the one before."""
    blocks = -(-length // TRACE_BLOCK)
    supply = iter(dict.fromkeys(key for prompt in trace for key in prompt.keys.tolist()))
    prompts: list[TraceRequest] = []
    for number in range(count):
        shared = prompts[-1].keys[: blocks // 2].tolist() if number % 2 else []
        own = [key for _, key in zip(range(blocks - len(shared)), supply, strict=False)]
        if len(shared) + len(own) < blocks:
            break
        prompts.append(TraceRequest(0.0, length, 0, np.array(shared + own, np.uint64), TRACE_BLOCK))
    return prompts


def queued(prompts: list[TraceRequest]) -> Iterator[bytes]:
    """The packed prompts, made some time before they are used."""
    waiting: deque[bytes] = deque()
    for prompt in prompts:
        waiting.append(prompt.prompt())
        if len(waiting) == QUEUE:
            yield waiting.popleft()
    yield from waiting


def time_ours(prompts: list[TraceRequest], capacity: int) -> tuple[list[float], list[int]]:
    """Microseconds and cached tokens of each prompt."""
    cache = PrefixCache(CacheConfig(num_blocks=capacity // 16))
    times, hits = [], []
    for now, tokens in enumerate(tqdm(queued(prompts), total=len(prompts), unit="request", leave=False)):
        size = len(tokens) // TOKEN_BYTES
        start = time.thread_time()
        ledger = process(cache, SPACE, tokens, now)
        times.append((time.thread_time() - start) * 1e6)
        if ledger is None:
            raise SystemExit(f"A prompt of {size} tokens does not fit into {capacity} tokens of cache.")
        hits.append(ledger.account().cached)
    cache.check_integrity()
    return times, hits


def time_floor(prompts: list[TraceRequest], hits: list[int], capacity: int) -> list[float]:
    """Microseconds to compare the tokens that hit with a stored copy and to store the prompt."""
    stored: OrderedDict[int, bytes] = OrderedDict()
    newest: dict[int, int] = {}  # trace block → the last request that stored it
    times, size = [], 0
    for number, (prompt, tokens, hit) in enumerate(zip(prompts, queued(prompts), hits, strict=True)):
        view, keys = memoryview(tokens), prompt.keys.tolist()
        copy = stored.get(newest.get(keys[(hit - 1) // TRACE_BLOCK], -1), tokens)[: hit * TOKEN_BYTES]
        start = time.thread_time()
        tokens.startswith(copy)
        stored[number] = bytes(view)
        times.append((time.thread_time() - start) * 1e6)
        newest.update(dict.fromkeys(keys, number))
        size += prompt.prompt_tokens
        while size > capacity:
            size -= len(stored.popitem(last=False)[1]) // TOKEN_BYTES
    return times


def run(name: str, prompts: list[TraceRequest], capacity: int, repeat: int) -> Row:
    """Both passes, ``repeat`` times."""
    ours, floor, hits = [], [], [0]
    stored = int(capacity * (1 + CacheConfig().ghost_ratio))
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for _ in range(repeat):
            times, hits = fresh.submit(time_ours, prompts, capacity).result()
            ours.append(times)
            floor.append(fresh.submit(time_floor, prompts, hits, stored).result())
    sizes = np.array([prompt.prompt_tokens for prompt in prompts])
    row = Row(name, np.median(ours, 0), np.median(floor, 0), sizes, np.array(hits))
    return row.only(name, sizes.cumsum() > capacity)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--tokens", type=int, default=8_000_000, help="tokens that fit into the cache")
    parser.add_argument("--small", type=int, default=1_000_000, help="tokens that fit into the small cache")
    parser.add_argument("--length", type=int, default=100_000, help="length of the long prompts")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    trace = trace_prompts(args.trace, args.requests)
    print(
        "| prompts | requests | mean tokens | hit | ours µs, median / mean / p99 | floor µs, same "
        "| median ratio | mean ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for capacity in (args.tokens, args.small):
        name = f"cache of {capacity / 1e6:g} M tokens: trace"
        row = run(name, trace, capacity, args.repeat)
        print(row.show())
        print(row.only("… its prompts of 10–14k tokens", (row.prompt >= 10_000) & (row.prompt <= 14_000)).show())
    long = long_prompts(trace, 400, args.length)
    for capacity in (args.tokens, args.small):
        print(run(f"cache of {capacity / 1e6:g} M tokens: {args.length:,} tokens", long, capacity, args.repeat).show())


if __name__ == "__main__":
    main()
