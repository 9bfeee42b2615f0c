"""Real requests through the real cache: the hit rate must be what an independent simulator measured.

Sequential replay, the whole request resident while it runs, inputs only. One token stands for 16 of the conversations', for
64 of the coding sessions', and a block holds one: the figures of whole tokens with a fraction of the memory traffic.

The simulator counts whole blocks of 512 tokens, of hits and of what lies in the cache. Here neither is rounded: a prompt
takes 256 tokens less room on average, 2 % of the cache, which brings up to half a point where the curve is steep.
"""

import pytest

from foreword.cache import CacheConfig, PrefixCache
from foreword.replay import namespace_of, process
from replay.published import CODING, CONVERSATION, needs_traces, published

pytestmark = needs_traces


def hit_rate(name: str, capacity: float, scale: int, policy: str = "lru") -> float:
    """Per cent of the prompt tokens that were cached."""
    cache = PrefixCache(CacheConfig(num_blocks=int(capacity / scale), block_size=1, eviction_policy=policy))
    cached = total = 0
    for request in published(name):
        ledger = process(cache, namespace_of(request), request.prompt(scale), request.arrival)
        assert ledger is not None
        account = ledger.account()
        assert account.cached + account.computed == account.prompt_tokens == request.length(scale)
        cached += account.cached
        total += account.prompt_tokens
    cache.check_integrity()
    return 100 * cached / total


@pytest.mark.parametrize(("capacity", "measured"), [(0.5e6, 4.5), (2e6, 8.6), (2.8e6, 12.8), (8e6, 26.6), (9.4e6, 28.4)])
def test_lru_on_conversations_hits_as_measured_elsewhere(capacity: float, measured: float) -> None:
    assert measured - 0.1 <= hit_rate(CONVERSATION, capacity, 16) <= measured + 0.5


@pytest.mark.parametrize(("capacity", "measured"), [(2.2e6, 59.3), (6.5e6, 92.0)])
def test_lru_on_coding_sessions_hits_as_measured_elsewhere(capacity: float, measured: float) -> None:
    """When the sessions began is not published; one pause between all begins fits both figures."""
    assert hit_rate(CODING, capacity, 64) == pytest.approx(measured, abs=1)


def test_protected_lru_gains_while_lru_thrashes() -> None:
    """Half a million tokens are twelve seconds of this trace: every leaf is young."""
    assert hit_rate(CONVERSATION, 0.5e6, 16, "protected-lru") > hit_rate(CONVERSATION, 0.5e6, 16) + 0.2
