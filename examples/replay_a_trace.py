"""How much of a trace would caches of two sizes have saved? Here the trace is made up; a file works the same."""

from foreword.cache import CacheConfig
from foreword.replay import grid, read_trace, replay_cache, sweep
from foreword.testing import trace_stream

caches = grid(CacheConfig(ghost_ratio=0.0), blocks=[1000, 8000], policies=["lru"])
for cell in sweep(caches, lambda _: read_trace(trace_stream(300)).requests, replay_cache):
    print(f"{cell.tokens:,} tokens: {cell.result.hit_rate:.0%} of {cell.result.prompt_tokens:,} prompt tokens were cached")
