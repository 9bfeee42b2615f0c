"""Same answer, same bits: whatever the cache, the chunks and the neighbours, KV and logits are torch.equal.

Every request of a random load is compared with the same prompt computed alone, whole, by an engine without a cache.
"""

import random
from collections.abc import Callable

import pytest
import torch

from engine.models import VOCAB
from engine.recording import RecordingEngine, Trace
from foreword.engine import SamplingParams

CASES = 24
"""Random loads a configuration; each has about a dozen requests."""


def assert_same_bits(got: Trace, alone: Trace) -> None:
    """Logits and KV that both have are equal to the bit; what an aborted request never computed is not there."""
    for position, logits in got.logits.items():
        assert torch.equal(logits, alone.logits[position]), f"logits after token {position}"
    for tensor, expected in zip(got.kv, alone.kv, strict=True):
        count = min(tensor.shape[1], expected.shape[1])
        assert torch.equal(tensor[:, :count], expected[:, :count])


def random_prompts(rng: random.Random, count: int) -> list[list[int]]:
    """Prompts that share beginnings of all lengths, partial blocks included; some are the same, some share nothing."""
    prompts: list[list[int]] = []
    for _ in range(count):
        base = rng.choice(prompts) if prompts and rng.random() < 0.8 else []
        keep = base[: rng.choice([len(base), rng.randrange(len(base) + 1)])]
        fresh = rng.choice([0, 1, rng.randrange(1, 40), rng.randrange(1, 330)])
        prompts.append((keep + [rng.randrange(2, VOCAB) for _ in range(fresh)]) or [5])
    return prompts


def random_load(rng: random.Random, engine: RecordingEngine, alone: RecordingEngine) -> int:
    """Send requests at random moments, abort some, and compare each with itself alone. Returns how many."""
    prompts = random_prompts(rng, rng.randrange(8, 16))
    todo, ids = list(prompts), {}
    while todo or engine.engine.has_unfinished_requests():
        while todo and rng.random() < 0.6:
            prompt = todo.pop(0)
            params = SamplingParams(temperature=0.0, max_tokens=rng.choice([1, 2, 9]), ignore_eos=True)
            ids[engine.engine.add_request(prompt, params)] = prompt
        if ids and rng.random() < 0.05:
            engine.engine.abort(rng.choice(list(ids)))
        engine.step()
        engine.engine.cache.check_integrity()
    for request_id, prompt in ids.items():
        trace = engine.traces.get(request_id)
        if trace is not None:
            assert_same_bits(trace, alone.run(prompt, max_tokens=9)[0])
    assert engine.engine.usage().held_blocks == 0
    return len(ids)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("family", "blocks", "chunk"),
    [("llama", 400, 48), ("llama", 60, 37), ("gemma2", 400, 512), ("qwen3", 70, 96), ("phi3", 100, 33)],
)
def test_random_loads(
    model_dir: Callable[..., str], family: str, blocks: int, chunk: int, threads: int
) -> None:
    """Random prompts, arrivals, chunk sizes, batch mixes, partial-block hits, sharing in flight, evictions, preemptions
    and aborts (the small caches evict and preempt)."""
    torch.set_num_threads(threads)
    model = model_dir(family)
    alone = RecordingEngine(
        model, enable_prefix_caching=False, max_num_batched_tokens=2048, kv_cache_memory_bytes=2**24
    )
    rng = random.Random(f"{family}-{blocks}-{chunk}-{threads}")
    evicted = preempted = hits = 0
    for _ in range(CASES // 8):
        engine = RecordingEngine(
            model, max_num_seqs=8, max_num_batched_tokens=chunk, kv_cache_memory_bytes=blocks * 16 * 3 * 2 * 2 * 16 * 4
        )
        random_load(rng, engine, alone)
        evicted += engine.engine.usage().evicted_tokens
        preempted += engine.engine.scheduler.num_preemptions
        hits += sum(t.output.num_cached_tokens for t in engine.traces.values() if t.output)
    print(evicted, preempted, hits)
    assert hits > 0
