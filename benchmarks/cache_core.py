"""What the cache's bookkeeping costs per request, beside its floor, on a real request trace.

    python benchmarks/cache_core.py TRACE [--requests 6000] [--tokens 8000000] [--length 100000]

TRACE is mooncake_conversation_trace.jsonl.gz. Every block id of the trace stands for 512 token ids of its own. Per
request: match, reserve (with eviction), plan, commit, release. The floor is what no index can avoid: comparing the
tokens that hit (one memcmp) and storing the prompt once (one memcpy).
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from foreword.cache import CacheConfig, ModelFingerprint, Namespace, PrefixCache, RequestLedger

TRACE_BLOCK = 512
SPACE = Namespace(ModelFingerprint(weights="benchmark"))


@dataclass
class Times:
    """Microseconds per request."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    prompt: int = 0
    hit: int = 0


def prompts(path: Path, count: int, length: int | None) -> Iterator[bytes]:
    """Packed prompts of the trace, or prompts of one length made of its blocks when ``length`` is given."""
    with gzip.open(path, "rt") as lines:
        requests = [json.loads(line) for line in lines]
    if length is None:
        for request in requests[:count]:
            yield expand(request["hash_ids"])[: request["input_length"] * 4]
        return
    long = [request for request in requests if request["input_length"] >= length]
    for request in long[:count]:
        yield expand(request["hash_ids"])[: length * 4]


def expand(hash_ids: list[int]) -> bytes:
    """Block ids of the trace to packed token ids."""
    ids = np.asarray(hash_ids, np.int32)[:, None] * TRACE_BLOCK + np.arange(TRACE_BLOCK, dtype=np.int32)
    return ids.tobytes()


def run(path: Path, count: int, capacity: int, length: int | None) -> Times:
    """Send every prompt through the cache; the floor is measured between requests, on the same prompt."""
    cache = PrefixCache(CacheConfig(num_blocks=capacity // 16))
    times = Times()
    for now, tokens in enumerate(tqdm(prompts(path, count, length), total=count, unit="request", leave=False)):
        size = len(tokens) // 4
        start = time.perf_counter()
        ledger = RequestLedger(size)
        cache.match(SPACE, tokens)
        reservation = cache.reserve(SPACE, tokens, ledger, now)
        assert reservation is not None
        cache.plan(reservation, size, size)
        cache.commit(reservation)
        cache.release(reservation, now)
        times.ours.append((time.perf_counter() - start) * 1e6)
        hit = ledger.record().cached
        times.floor.append(floor(tokens, hit))
        times.prompt += size
        times.hit += hit
    cache.check_integrity()
    return times


def floor(tokens: bytes, hit: int) -> float:
    """Microseconds to compare ``hit`` tokens with a stored copy and to store the prompt."""
    stored = bytearray(tokens[: hit * 4])
    view = memoryview(tokens)
    start = time.perf_counter()
    tokens.startswith(stored)
    bytearray(view)
    return (time.perf_counter() - start) * 1e6


def report(name: str, times: Times) -> None:
    """One line of the table in README.md."""
    ours, base = np.array(times.ours), np.array(times.floor)
    print(
        f"| {name} | {len(ours)} | {times.prompt / len(ours):,.0f} | {times.hit / times.prompt:.1%} | "
        f"{np.median(ours):.0f} / {ours.mean():.0f} / {np.percentile(ours, 99):.0f} | "
        f"{np.median(base):.0f} / {base.mean():.0f} / {np.percentile(base, 99):.0f} | "
        f"{np.median(ours) / np.median(base):.2f} | {ours.mean() / base.mean():.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--tokens", type=int, default=8_000_000, help="tokens that fit into the cache")
    parser.add_argument("--length", type=int, default=100_000, help="length of the long prompts")
    args = parser.parse_args()
    print("| prompts | requests | mean tokens | hit | ours µs, median / mean / p99 | floor µs, same | median ratio | mean ratio |")
    print("|---|---|---|---|---|---|---|---|")
    report("trace", run(args.trace, args.requests, args.tokens, None))
    report(f"{args.length:,} tokens", run(args.trace, 200, args.tokens, args.length))


if __name__ == "__main__":
    main()
