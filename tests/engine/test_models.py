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
    engine = RecordingEngine(
        model_dir(family), backend=backend, draft="off", max_num_batched_tokens=512, kv_cache_memory_bytes=KV_BYTES
    )
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
    "tokens that see what comes": ("Bert", {"vocab_size": VOCAB, "hidden_size": 32, "num_attention_heads": 2}, "causal"),
    "state beside keys and values": (
        "FalconH1",
        {**SMALL, "head_dim": 8, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
        "its layers keep more of a text than keys and values",
    ),
    "a mask of its own": ("Doge", {**SMALL, "head_dim": 8, "keep_window_size": 16}, "off by"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    prefix, options, named = REFUSED[kind]
    config = getattr(transformers, f"{prefix}Config")(**options)
    model = getattr(transformers, f"{prefix}{'LMHeadModel' if prefix == 'Bert' else 'ForCausalLM'}")(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.2)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=prefix) as refused:
        load(str(tmp_path))
    assert named in str(refused.value)
    assert "Served:" in str(refused.value) or "Use a variant" in str(refused.value)


LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 200}  # fmt: skip
SCALED = {"rope_type": "yarn", "factor": 16.0, "rope_theta": 1e4, "original_max_position_embeddings": 64,
          "llama_4_scaling_beta": 0.1, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
          "mscale_all_dim": 1.0}  # fmt: skip
SERVED: dict[str, tuple[str, dict[str, Any]]] = {
    "experts": ("Mixtral", {"num_local_experts": 4}),
    "experts in windows by layer": (
        "Qwen2Moe",
        {
            "use_sliding_window": True,
            "max_window_layers": 1,
            "sliding_window": 40,
            "num_experts": 4,
            "moe_intermediate_size": 48,
        },
    ),
    "experts and sinks": ("GptOss", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 40}),
    "layers that are no linear ones": ("GPT2", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 1024}),
    "chunks": (
        "Llama4",
        {
            "attention_chunk_size": 32,
            "num_local_experts": 4,
            "intermediate_size_mlp": 96,
            "floor_scale": 16,
            "attn_scale": 0.3,
        },
    ),
    "a head that is called decoder": ("ModernBertDecoder", {"local_attention": 32}),
    "scales by position": ("Ministral3", {"rope_parameters": SCALED}),
    "rope dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    "rope longrope": ("Phi3", {"original_max_position_embeddings": 200, "rope_parameters": LONG}),
    "no keyword of ours": ("StableLm", {}),
}
"""Beside FAMILIES: what models ask for, with an architecture of each."""


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("kind", SERVED)
def test_what_else_is_served_is_right_and_bit_identical(tmp_path: Path, kind: str, threads: int) -> None:
    prefix, options = SERVED[kind]
    config = getattr(transformers, "Llama4TextConfig" if prefix == "Llama4" else f"{prefix}Config")(**{**COMMON, **options})
    name = "GPT2LMHeadModel" if prefix == "GPT2" else f"{prefix}ForCausalLM"
    torch.manual_seed(7)
    getattr(transformers, name)(config).float().save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    torch.set_num_threads(threads)
    load_plain = transformers.AutoModelForCausalLM.from_pretrained
    model = load_plain(tmp_path, attn_implementation="eager", dtype=torch.float32).eval()
    alone, engine = (
        RecordingEngine(str(tmp_path), max_num_seqs=8, max_num_batched_tokens=tokens, kv_cache_memory_bytes=KV_BYTES)
        for tokens in (512, 37)
    )
    whole = [alone.run(each)[0] for each in (prompt(1, 300), prompt(2, 90))]
    for got, expected in zip(engine.run(prompt(1, 300), prompt(2, 90)), whole, strict=True):
        shared = got.logits.keys() & expected.logits.keys()
        assert shared, "the request ended with an error"
        assert all(torch.equal(got.logits[at], expected.logits[at]) for at in shared)
        if prefix != "Phi3" or len(got.kv[0][0]) > 200:  # for shorter prompts transformers turns by other frequencies
            assert_like_plain(model, got)


def test_encoder_decoders_are_refused_by_name(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=r"T5ForConditionalGeneration is an encoder-decoder model.*Served: .*Llama"):
        load(str(tmp_path))
