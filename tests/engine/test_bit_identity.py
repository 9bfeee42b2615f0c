"""Same answer, same bits: whatever the cache, the chunks and the neighbours, KV and logits are torch.equal.

Every request of a random load is compared with the same tokens, prompt and answer, computed alone and in one piece by an
engine without a cache; so a token that was generated in a crowd has the bits that it has in a prompt.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from engine.checks import assert_settled
from engine.making import add
from engine.recording import RecordingEngine, Trace
from foreword.backends.cpu.kernels.target import targets
from foreword.engine import SamplingParams
from foreword.engine.runner import Sampled, Step
from foreword.errors import StepFailed
from foreword.testing.tiny_models import VOCAB

LOADS = 3
"""Random loads a configuration, one after the other in one engine; each has about a dozen requests."""
KV_BYTES_A_BLOCK = 16 * 3 * 2 * (16 + 16) * 4
"""Of the tiny models: 16 tokens, 3 layers, 2 heads, key and value of 16 float32."""
SHORT, LONG = (1, 2, 9), (2, 30, 50)
"""Tokens to generate; long answers outgrow a small cache, so that requests must make way."""
compared = Counter[str]()


def assert_same_bits(got: Trace, alone: Trace) -> None:
    """Logits and KV that both have are equal to the bit; what an aborted request never computed is not there."""
    for position, logits in got.logits.items():
        assert torch.equal(logits, alone.logits[position]), f"logits after token {position}"
    for tensor, expected in zip(got.kv, alone.kv, strict=False):
        count = min(tensor.shape[1], expected.shape[1])
        assert torch.equal(tensor[:, :count], expected[:, :count])


def random_prompts(rng: random.Random, bases: list[list[int]], count: int, longest: int) -> list[list[int]]:
    """Prompts that share beginnings of all lengths, partial blocks included; some are the same, some share nothing."""
    prompts: list[list[int]] = []
    for _ in range(count):
        known = bases + prompts
        base = rng.choice(known) if known and rng.random() < 0.8 else []
        keep = base[: rng.choice([len(base), rng.randrange(len(base) + 1)])]
        fresh = rng.choice([0, 1, rng.randrange(1, 40), rng.randrange(1, 200)])
        prompts.append(((keep + [rng.randrange(2, VOCAB) for _ in range(fresh)]) or [5])[:longest])
    return prompts


def break_next_step(engine: RecordingEngine) -> None:
    """The next forward pass computes everything and then raises."""

    def broken(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
        engine.runner.hook = None
        run(step)
        raise MemoryError("made by the test")

    engine.runner.hook = broken


def random_load(
    rng: random.Random, engine: RecordingEngine, prompts: list[list[int]], lengths: tuple[int, ...]
) -> dict[str, list[int]]:
    """Send prompts at random moments, abort some, break some steps; returns the prompts by request id."""
    todo, ids = list(prompts), {}
    while todo or engine.engine.has_unfinished_requests():
        while todo and rng.random() < 0.6:
            params = SamplingParams(temperature=0.0, max_tokens=rng.choice(lengths), ignore_eos=True)
            prompt = todo.pop(0)
            ids[add(engine.engine, prompt, params)] = prompt
        if ids and rng.random() < 0.04 and (gone := engine.engine.abort(rng.choice(list(ids)))):
            engine.traces.setdefault(gone.request_id, Trace()).output = gone.output()
            compared["aborted"] += 1
        if rng.random() < 0.02 and engine.engine.has_unfinished_requests():
            break_next_step(engine)
        engine.step()
        engine.engine.check_integrity()
    assert_settled(engine.engine)
    return ids


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("family", "blocks", "chunk", "small", "numbers"),
    [
        ("llama", 400, 48, False, {}),
        ("llama", 18, 37, True, {}),
        ("gemma2", 400, 512, False, {}),
        ("qwen3", 18, 96, True, {}),
        ("phi3", 18, 33, True, {}),
        ("llama", 400, 48, False, {"quantization": "int8"}),
        ("gemma2", 18, 37, True, {"kv_dtype": "bfloat16"}),
        ("qwen3", 18, 96, True, {"quantization": "int8", "kv_dtype": "bfloat16"}),
        ("llama", 18, 37, True, {"quantization": "q4_k"}),
        ("qwen3", 400, 48, False, {"quantization": "q4_0"}),
        ("gemma2", 18, 96, True, {"quantization": "q8_0"}),
    ],
)
def test_random_loads(
    model_dir: Callable[..., str],
    family: str,
    blocks: int,
    chunk: int,
    small: bool,
    numbers: dict[str, str],
    threads: int,
) -> None:
    """Random prompts, arrivals, chunk sizes, batch mixes, partial-block hits, sharing in flight, evictions, preemptions,
    aborts and failing steps. The small caches do evict and preempt. ``numbers``: in int8, or with KV in bfloat16, the
    answers are others, but as independent of all that."""
    torch.set_num_threads(threads)
    alone = RecordingEngine(
        model_dir(family), enable_prefix_caching=False, max_num_batched_tokens=2048, kv_cache_memory_bytes=2**20, **numbers
    )
    engine = RecordingEngine(
        model_dir(family),
        max_num_seqs=8,
        max_num_batched_tokens=chunk,
        kv_cache_memory_bytes=blocks * KV_BYTES_A_BLOCK // (2 if "kv_dtype" in numbers else 1),
        **numbers,
    )
    rng = random.Random(f"{family}-{blocks}-{chunk}")
    seen = Counter[str]()
    bases: list[list[int]] = []
    for _ in range(LOADS):
        prompts = random_prompts(rng, bases, rng.randrange(10, 16), longest=120 if small else 400)
        bases = prompts[:4]
        for request_id, prompt in random_load(rng, engine, prompts, LONG if small else SHORT).items():
            trace = engine.traces.pop(request_id)
            assert trace.output is not None
            if trace.output.error is not None:
                assert isinstance(trace.output.error, StepFailed)
                compared["failed"] += 1
            if trace.logits or trace.kv:
                whole = prompt + trace.output.outputs[0].token_ids
                assert_same_bits(trace, alone.run(whole, max_tokens=1, prompt_logprobs=0)[0])
                compared["requests"] += 1
                compared["logits"] += len(trace.logits)
            account = trace.output.account
            seen["cached"] += account.cached
            seen["in flight"] += account.shared_in_flight
            seen["partial"] += account.cached % 16 > 0
            alone.traces.clear()
    assert min(seen["cached"], seen["in flight"], seen["partial"]) > 0, seen
    if small:
        assert engine.engine.usage().evicted_tokens > 0
        assert engine.engine.state().preemptions > 0


@pytest.mark.parametrize("quantization", ["none", "int8", "q4_k", "q8_0"])
def test_every_path_of_the_processor_gives_the_same_bits(model_dir: Callable[..., str], quantization: str) -> None:
    """A prompt longer than a tile of attention, in chunks, and its answer: KV and logits."""
    prompt, found = [2 + 7 * at % (VOCAB - 2) for at in range(300)], []
    for target in targets():
        engine = RecordingEngine(
            model_dir("llama"),
            quantization=quantization,
            kernel_path=target.path,
            max_num_batched_tokens=96,
            kv_cache_memory_bytes=2**21,
        )
        found.append(engine.run(prompt, max_tokens=3, prompt_logprobs=0)[0])
    assert len(found[0].logits) >= 300
    for trace in found[1:]:
        assert trace.logits.keys() == found[0].logits.keys()
        assert_same_bits(trace, found[0])


def test_enough_was_compared() -> None:
    """Runs after the loads: a change that makes them trivial is seen here."""
    if not compared:
        pytest.skip("the random loads did not run")
    print(f"bit identity: {dict(compared)}")
    assert compared["requests"] >= 500
    assert compared["logits"] > 5000
    assert compared["aborted"] > 5
    assert compared["failed"] > 5
