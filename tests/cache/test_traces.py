"""A real hour of requests through the real cache: the hit rate must be what an independent simulator measured.

Sequential replay, the whole request resident while it runs, inputs only. A trace block of 512 tokens is replayed as 32
tokens and a cache block is one token long: 16 tokens of the trace, with a sixteenth of the memory traffic.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cache.harness import SPACE
from foreword.cache import CacheConfig, PrefixCache, RequestLedger, pack_tokens

TRACE = Path(__file__).parents[3] / "shared" / "traces" / "mooncake_conversation_trace.jsonl.gz"
SCALE, BLOCK = 16, 32

pytestmark = pytest.mark.skipif(
    not TRACE.exists(), reason="the public request traces are not beside the project (../shared/traces)"
)


@pytest.fixture(scope="module")
def requests() -> list[tuple[float, bytes]]:
    """(seconds, packed tokens) of every request."""
    found = []
    with gzip.open(TRACE, "rt") as lines:
        for line in lines:
            request = json.loads(line)
            ids = np.asarray(request["hash_ids"], np.int32)[:, None] * BLOCK + np.arange(BLOCK, dtype=np.int32)
            found.append((request["timestamp"] / 1000, pack_tokens(ids.ravel()[: request["input_length"] // SCALE])))
    return found


def hit_rate(requests: list[tuple[float, bytes]], capacity: float, policy: str) -> float:
    """Per cent of the prompt tokens that were cached."""
    cache = PrefixCache(CacheConfig(num_blocks=int(capacity / SCALE), block_size=1, eviction_policy=policy))
    cached = total = 0
    for now, tokens in requests:
        length = len(tokens) // 4
        ledger = RequestLedger(length)
        reservation = cache.reserve(cache.match(SPACE, tokens), ledger, now)
        assert reservation is not None
        cache.plan(reservation, length, length)
        cache.commit(reservation)
        cache.release(reservation, now)
        record = ledger.account()
        assert record.cached + record.computed == length
        cached += record.cached
        total += length
    cache.check_integrity()
    return 100 * cached / total


@pytest.mark.parametrize(("capacity", "published"), [(0.5e6, 4.5), (2e6, 8.6), (8e6, 26.6)])
def test_lru_hits_as_published(requests: list[tuple[float, bytes]], capacity: float, published: float) -> None:
    """At most a little more than published: matching is token-exact here, by whole blocks there."""
    assert published - 0.1 <= hit_rate(requests, capacity, "lru") <= published + 0.5


def test_protected_lru_gains_while_lru_thrashes(requests: list[tuple[float, bytes]]) -> None:
    """Half a million tokens are twelve seconds of this trace: every leaf is young."""
    assert hit_rate(requests, 0.5e6, "protected-lru") > hit_rate(requests, 0.5e6, "lru") + 0.2
