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
from weights.gguf_files import write_gguf

LOADS = 3
"""Random loads a configuration, one after the other in one engine; each has about a dozen requests."""
KV_BYTES_A_BLOCK = {kv: 16 * 3 * 2 * size for kv, size in {"float32": 4 * 32, "bfloat16": 2 * 32, "int8": 32 + 8}.items()}
"""Of the tiny models: 16 tokens, 3 layers, 2 heads, key and value of 16 numbers, in int8 with a scale each."""
SHORT, LONG = (1, 2, 9), (2, 40, 70)
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
            engine.traces.setdefault(gone.request_id, Trace()).end(gone.output())
            compared["aborted"] += 1
        if rng.random() < 0.02 and engine.engine.has_unfinished_requests():
            break_next_step(engine)
        engine.step()
        engine.engine.check_integrity()
    assert_settled(engine.engine)
    return ids


@pytest.fixture(scope="session")
def gguf_path(model_dir: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A tiny Llama's GGUF file, its matrices in blocks of a type; written once a session."""
    folder = tmp_path_factory.mktemp("gguf")

    def get(kind: str) -> str:
        path = folder / f"{kind}.gguf"
        if not path.exists():
            wide = {"hidden_size": 256, "intermediate_size": 256} if "_K" in kind else {}
            write_gguf(path, model_dir("llama", **wide), kind)
        return str(path)

    return get


@pytest.fixture
def model_of(model_dir: Callable[..., str], gguf_path: Callable[[str], str]) -> Callable[[str], str]:
    """A tiny model of a family, or the GGUF file of a type of blocks."""
    return lambda name: gguf_path(name) if name.startswith("Q") else model_dir(name)


@pytest.mark.parametrize(
    ("model", "blocks", "chunk", "small", "numbers", "threads"),
    [
        ("llama", 400, 48, False, {}, 1),
        ("llama", 18, 37, True, {}, 2),
        ("llama", 18, 48, True, {}, 7),
        ("gemma2", 400, 512, False, {}, 1),
        ("gemma2", 18, 48, True, {}, 2),
        ("qwen3", 18, 96, True, {}, 1),
        ("qwen3", 400, 37, False, {}, 3),
        ("phi3", 18, 33, True, {}, 1),
        ("phi3", 18, 96, True, {}, 2),
        ("llama", 400, 48, False, {"quantization": "int8"}, 4),
        ("llama", 18, 33, True, {"quantization": "int8"}, 1),
        ("llama", 18, 48, True, {"quantization": "int8", "activation_bits": 16}, 2),
        ("Q4_K", 18, 37, True, {"activation_bits": 16}, 1),
        ("gemma2", 18, 37, True, {"kv_dtype": "bfloat16"}, 1),
        ("gemma2", 400, 48, False, {"kv_dtype": "int8"}, 2),
        ("llama", 18, 37, True, {"kv_dtype": "int8"}, 1),
        ("qwen3", 18, 96, True, {"quantization": "int8", "kv_dtype": "bfloat16"}, 2),
        ("phi3", 18, 48, True, {"quantization": "int8", "kv_dtype": "int8"}, 2),
        ("gemma2", 18, 96, True, {"quantization": "q8_0"}, 1),
        ("Q4_K", 18, 37, True, {}, 2),
        ("Q4_K", 400, 48, False, {}, 1),
        ("Q6_K", 18, 33, True, {"kv_dtype": "int8"}, 4),
        ("Q4_0", 18, 48, True, {}, 1),
        ("Q4_0", 400, 96, False, {"kv_dtype": "bfloat16"}, 2),
        ("Q8_0", 18, 37, True, {}, 3),
        ("Q8_0", 400, 512, False, {}, 1),
    ],
)
def test_random_loads(
    model_of: Callable[[str], str],
    model: str,
    blocks: int,
    chunk: int,
    small: bool,
    numbers: dict[str, str],
    threads: int,
) -> None:
    """Random prompts, arrivals, chunk sizes, batch mixes, partial-block hits, sharing in flight, evictions, preemptions,
    aborts and failing steps. The small caches do evict and preempt. ``numbers``: in a quantisation, or with KV in fewer
    bits, the answers are others, but as independent of all that."""
    torch.set_num_threads(threads)
    alone = RecordingEngine(
        model_of(model), enable_prefix_caching=False, max_num_batched_tokens=2048, kv_cache_memory_bytes=2**20, **numbers
    )
    engine = RecordingEngine(
        model_of(model),
        max_num_seqs=8,
        max_num_batched_tokens=chunk,
        kv_cache_memory_bytes=blocks * KV_BYTES_A_BLOCK[numbers.get("kv_dtype", "float32")],
        **numbers,
    )
    rng = random.Random(f"{model}-{blocks}-{chunk}")
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


EVERY_KIND = [
    *((model, {}) for model in ("llama", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")),
    *(("llama", {"quantization": name}) for name in ("int8", "f16", "bf16")),
    *(("llama", {"kv_dtype": name}) for name in ("bfloat16", "int8")),
]
"""Every weight format, and everything that KV are kept in."""


@pytest.mark.parametrize(("model", "numbers"), EVERY_KIND)
def test_the_same_bits_in_batches_of_1_to_64_by_any_number_of_threads(
    model_of: Callable[[str], str], model: str, numbers: dict[str, str]
) -> None:
    """A request more in each step, all of which generate: first two that share a beginning which ends inside a block, then
    prompts of a few tokens. Each is compared with itself, alone and in one piece, by one thread."""
    rng = random.Random(model)
    first = [rng.randrange(2, VOCAB) for _ in range(300)]
    prompts = [first, [*first[:139], 7, 8, 9], *([rng.randrange(2, VOCAB) for _ in range(3)] for _ in range(62))]
    options = {"max_num_seqs": 64, "kv_cache_memory_bytes": 2**22, **numbers}
    torch.set_num_threads(1)
    alone = RecordingEngine(model_of(model), enable_prefix_caching=False, max_num_batched_tokens=2048, **options)
    engine = RecordingEngine(model_of(model), draft="off", max_num_batched_tokens=128, **options)  # a token each step
    ids, sizes = [], set()
    for number, prompt in enumerate(prompts):
        torch.set_num_threads((1, 2, 3, 4, 7)[number % 5])
        params = SamplingParams(temperature=0.0, max_tokens=65 - number, ignore_eos=True)
        ids.append(add(engine.engine, prompt, params))
        engine.step()
        sizes.add(engine.engine.state().running)
    while engine.engine.has_unfinished_requests():
        engine.step()
    assert sizes == set(range(1, 65))
    torch.set_num_threads(1)
    for request_id, prompt in zip(ids, prompts, strict=True):
        trace = engine.traces[request_id]
        assert trace.output is not None
        whole = prompt + trace.output.outputs[0].token_ids
        assert_same_bits(trace, alone.run(whole, max_tokens=1, prompt_logprobs=0)[0])
    second = engine.traces[ids[1]].output
    assert second is not None
    assert second.account.reused >= 136


@pytest.mark.parametrize(("model", "numbers"), EVERY_KIND)
def test_every_path_of_the_processor_gives_the_same_bits(
    model_of: Callable[[str], str], model: str, numbers: dict[str, str]
) -> None:
    """A prompt longer than a tile of attention, in chunks, and its answer: KV and logits."""
    prompt, found = [2 + 7 * at % (VOCAB - 2) for at in range(300)], []
    for target in targets():
        engine = RecordingEngine(
            model_of(model), kernel_path=target.path, max_num_batched_tokens=96, kv_cache_memory_bytes=2**21, **numbers
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
