"""Are the hit rates of replays those that others measured, and does a long trace take bounded memory?

    python benchmarks/replay.py published TRACES            the public traces against an independent simulator
    python benchmarks/replay.py memory [--tokens 100000000] a made-up trace through both loops: seconds and peak memory

The simulator counts whole blocks of 512 tokens, of hits and of what lies in the cache; here neither is rounded, which is up
to half a point where the curve is steep. When the coding sessions began is not published: see SESSION_SECONDS.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from foreword.account import Source
from foreword.cache import CacheConfig
from foreword.replay import ReplayConfig, ReplayResult, costs_from_rates, read_trace, replay_cache, replay_with
from foreword.testing import trace_stream

CONVERSATION, CODING = "mooncake_conversation_trace.jsonl.gz", "claude_code_sessions_64.rle.jsonl.gz"
MEASURED = (
    (CONVERSATION, 16, 500_000, 4.5), (CONVERSATION, 16, 2_000_000, 8.6), (CONVERSATION, 16, 2_800_000, 12.8),
    (CONVERSATION, 16, 8_000_000, 26.6), (CONVERSATION, 16, 9_400_000, 28.4),
    (CODING, 64, 2_200_000, 59.3), (CODING, 64, 6_500_000, 92.0),
)  # fmt: skip
"""Trace, tokens that one of ours stands for, tokens of cache, and the hit rate in per cent that others measured (LRU)."""
TOKENS_A_REQUEST = 8_340  # of the made-up trace, about


def published(folder: Path) -> None:
    """Prompts only, one after another, in blocks of one token, as the simulator replayed them."""
    print("| trace | tokens of cache | measured elsewhere | here |\n|---|---|---|---|")
    for name, scale, tokens, elsewhere in MEASURED:
        cache = CacheConfig(num_blocks=tokens // scale, block_size=1, ghost_ratio=0.0)
        with (folder / name).open("rb") as stream:
            prompts = (request.without_answer() for request in read_trace(stream).requests)
            result = replay_cache(prompts, cache, scale=scale)
        print(f"| {name} | {tokens:,} | {elsewhere} | {100 * result.share(Source.CACHED):.1f} |")


def memory(tokens: int, blocks: int) -> None:
    """Each loop in a process of its own, so that its peak is its own."""
    print("| loop | prompt tokens | hit rate | seconds | peak memory | of it before |\n|---|---|---|---|---|---|")
    for loop in ("cache", "engine"):
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            result, seconds, before, peak = fresh.submit(replayed, loop, tokens // TOKENS_A_REQUEST, blocks).result()
        figures = f"{result.prompt_tokens:,} | {result.hit_rate:.1%} | {seconds:.0f}"
        print(f"| {loop} | {figures} | {peak >> 20} MiB | {before >> 20} MiB |")


def replayed(loop: str, requests: int, blocks: int) -> tuple[ReplayResult, float, int, int]:
    """What a made-up trace came to, the seconds it took, and the bytes of memory before and at most."""
    config = ReplayConfig(blocks=(blocks,), loop=loop, max_num_batched_tokens=8192)
    cache = CacheConfig(num_blocks=blocks, ghost_ratio=0.0)
    before, start = peak_memory(), time.perf_counter()
    with trace_stream(requests) as stream:
        result = replay_with(config, costs_from_rates(50_000, 20), read_trace(stream, 512).requests, cache)
    return result, time.perf_counter() - start, before, peak_memory()


def peak_memory() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("published", "memory"))
    parser.add_argument("traces", nargs="?", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--blocks", type=int, default=65_536, help="blocks of 16 tokens of the made-up trace's cache")
    options = parser.parse_args()
    if options.part == "published":
        published(options.traces)
    else:
        memory(options.tokens, options.blocks)


if __name__ == "__main__":
    main()
