"""Every tested family against plain transformers, and what is refused or cannot be loaded.

Importing the engine registers an attention function by name only; the plain models here use transformers' own ("eager").
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from engine.making import add
from engine.models import load
from engine.recording import RecordingEngine, Trace
from foreword.backends.registry import BACKENDS
from foreword.engine import SamplingParams
from foreword.errors import ModelError
from foreword.testing.tiny_models import COMMON, FAMILIES, VOCAB, write_tokenizer

KV_BYTES = 2**22
GREEDY = SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True)


@pytest.fixture(scope="module")
def plain(model_dir: Callable[..., str]) -> Callable[[str], Any]:
    """The same weights in transformers' own model."""
    loaded: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in loaded:
            loaded[family] = transformers.AutoModelForCausalLM.from_pretrained(
                model_dir(family), attn_implementation="eager", dtype=torch.float32
            ).eval()
        return loaded[family]

    return get


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(2, VOCAB) for _ in range(length)]


def assert_like_plain(model: Any, trace: Trace) -> None:
    """All logits that were sampled from, and those at the ends of chunks, are the plain model's, given the same tokens."""
    assert trace.output is not None
    ids = trace.output.prompt_token_ids + trace.output.outputs[0].token_ids
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids])).logits[0]
    assert trace.logits.keys() >= set(range(len(trace.output.prompt_token_ids) - 1, len(ids) - 1))
    for position, logits in trace.logits.items():
        error = (logits - expected[position]).abs().max() / expected[position].abs().max()
        assert error < 1e-5, f"logits after token {position}: relative error {error}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(
    model_dir: Callable[..., str], plain: Callable[[str], Any], family: str, backend: str
) -> None:
    model = plain(family)
    engine = RecordingEngine(model_dir(family), backend=backend, max_num_batched_tokens=512, kv_cache_memory_bytes=KV_BYTES)
    first = prompt(1, 300)
    (cold,) = engine.run(first)
    assert_like_plain(model, cold)

    (warm,) = engine.run(first[:270] + prompt(2, 31))
    assert warm.output is not None
    assert warm.output.num_cached_tokens == 270
    assert_like_plain(model, warm)

    # two that decode side by side take blocks in turns: what follows them has scattered blocks
    long = engine.run(prompt(3, 20), prompt(4, 20), max_tokens=40)
    scattered = long[0].output.prompt_token_ids + long[0].output.outputs[0].token_ids[:-1]  # type: ignore[union-attr]

    # one mixed step: a decode, a cached prefix with a chunk after it, scattered blocks, a fresh prefill
    ids = [add(engine.engine, prompt(5, 7), GREEDY)]
    engine.step()
    for mixed in (first + prompt(6, 50), scattered + prompt(7, 9), prompt(8, 290)):
        ids.append(add(engine.engine, mixed, GREEDY))
    engine.step()
    held = [request.reservation for request in engine.engine.scheduler.running]
    tables = [reservation.table for reservation in held if reservation is not None]
    assert len(tables) == 4
    assert any((np.diff(table) != 1).any() for table in tables)
    while engine.engine.has_unfinished_requests():
        engine.step()
    for request_id in ids:
        assert_like_plain(model, engine.traces[request_id])


@pytest.mark.parametrize("family", FAMILIES)
def test_chunked_prefill_is_that_of_transformers(
    model_dir: Callable[..., str], plain: Callable[[str], Any], family: str
) -> None:
    engine = RecordingEngine(model_dir(family), max_num_seqs=8, max_num_batched_tokens=37, kv_cache_memory_bytes=KV_BYTES)
    for trace in engine.run(prompt(1, 300), prompt(2, 90), prompt(1, 200) + prompt(3, 70)):
        assert_like_plain(plain(family), trace)


SMALL = {key: value for key, value in COMMON.items() if key not in ("head_dim", "initializer_range")}
SMALL |= {"hidden_size": 32, "num_hidden_layers": 2}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "recurrent": ("Mamba", {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2}, "MambaForCausalLM"),
    "hybrid": (
        "Qwen3Next",
        {**SMALL, "layer_types": ["linear_attention", "full_attention"], "num_experts": 2, "num_experts_per_tok": 1},
        "Qwen3NextForCausalLM",
    ),
    "no attention interface": ("Bloom", {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 2}, "Bloom"),
    "attention sinks": (
        "GptOss",
        {**SMALL, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "pad_token_id": 1},
        "sinks",
    ),
    "rope longrope": (
        "Phi3",
        {
            **SMALL,
            "original_max_position_embeddings": 512,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
                "original_max_position_embeddings": 512,
            },
        },
        "longrope",
    ),
    "rope dynamic": (
        "Llama",
        {**SMALL, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        "dynamic",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    prefix, options, named = REFUSED[kind]
    config = getattr(transformers, f"{prefix}Config")(**options)
    getattr(transformers, f"{prefix}ForCausalLM")(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=prefix) as refused:
        load(str(tmp_path))
    assert named in str(refused.value)
    assert "Served:" in str(refused.value) or "Use a variant" in str(refused.value)


def test_encoder_decoders_are_refused_by_name(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=r"T5ForConditionalGeneration is an encoder-decoder model.*Served: .*Llama"):
        load(str(tmp_path))
