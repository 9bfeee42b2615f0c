"""Every architecture that transformers can build, tiny and with random weights, loaded by Foreword: what becomes of each?

    python benchmarks/architectures.py [name ...] [--threads 1,2,3] [--jobs 2]

Each is loaded in a process of its own, and its logits are compared with those of transformers' own eager code: cold, behind
a cached prefix, wholly cached, in chunks beside neighbours. One line each: ``ok``; ``said`` (right, and the start said that
bits differ); ``refused`` (in one line, by name); and what must never be: ``UNSAID`` (bits differ and nobody said so),
``WRONG``, ``CRASH``. ``unbuilt``: transformers could not make a tiny one from this script's configuration.
"""

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

VOCAB, LAYERS, CONTEXT, PROMPT = 320, 4, 1024, 150
FAULTS = ("UNSAID", "WRONG", "CRASH")
SECONDS, PATIENCE = 300, 20
"""A model may take so much of a processor's time, and so many times as long by the clock: others may be at work."""
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "embedding_size": 64, "model_dim": 64,
    "intermediate_size": 96, "ffn_dim": 96, "n_inner": 96, "decoder_ffn_dim": 96, "encoder_ffn_dim": 96, "ffn_hidden_size":
    96,
    "d_ff": 96, "dff": 96, "d_inner": 96, "num_hidden_layers": LAYERS, "n_layer": LAYERS, "n_layers": LAYERS, "num_layers":
    LAYERS,
    "decoder_layers": LAYERS, "encoder_layers": 1, "num_decoder_layers": LAYERS, "num_attention_heads": 4, "n_head": 4,
    "n_heads": 4,
    "num_heads": 4, "decoder_attention_heads": 4, "encoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "global_head_dim": 16, "num_global_key_value_heads": 2, "attention_head_dim": 16, "max_position_embeddings": CONTEXT,
    "n_positions": CONTEXT, "n_ctx": CONTEXT, "max_seq_len": CONTEXT, "sliding_window": 40, "local_attention": 40,
    "window_size": 40,
    "attention_chunk_size": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_k": 2, "moe_topk": 2, "num_experts_per_token": 2, "top_k_experts": 2, "moe_top_k": 2,
    "n_shared_experts": 1,
    "moe_num_shared_experts": 1, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 48,
    "expert_ffn_hidden_size": 48,
    "intermediate_size_mlp": 96, "mlp_hidden_size": 96, "expert_intermediate_size": 48, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16,
    "v_head_dim": 16, "qk_head_dim": 32, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 1, "query_pre_attn_scalar":
    16,
    "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCAB, "laurel_rank": 8, "num_kv_shared_layers": 0,
    "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_expand": 2, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_num_heads":
    8,
    "mamba_head_dim": 16, "state_size": 16, "ssm_state_size": 16, "linear_num_key_heads": 4, "linear_num_value_heads": 4,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "lru_width": 64, "index_n_heads": 4, "index_head_dim": 16,
    "index_topk": 16, "rotary_dim": 8, "emb_dim": 64, "attention_hidden_size": 64, "block_size": 16, "chunk_size": 16,
    "zero_expert_num": 2, "mamba_d_ssm": 128,
}  # fmt: skip
"""By the names that configurations have for them; a value that is None by default stays None."""
DROPPED = ("layer_types", "no_rope_layers", "moe_layers", "mlp_layer_types", "layers_block_type", "attn_layer_indices",
"block_types",
           "attention_types", "attention_layers", "mlp_only_layers", "head_dim_", "per_layer_config", "rope_parameters",
           "intermediate_size_list", "quantization_config", "dtype", "architectures", "transformers_version", "id2label",
           "label2id",
           "block_configs", "hybrid_override_pattern", "full_attn_idxs", "activation_sparsity_pattern", "mamba_dt_rank",
           "layer_type_list")  # fmt: skip
NEVER_NONE = (
    "num_key_value_heads",
    "head_dim",
    "n_routed_experts",
    "moe_intermediate_size",
    "n_shared_experts",
    "num_experts_per_tok",
)
"""Without which some configurations make no model."""
EVEN = {"dots3_note": ("num_key_value_heads",), "dots3_note_text": ("num_key_value_heads",)}
"""Model types that have as many key heads as query heads."""
INDEXED = {"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 64,
           "indexer_compress_ratio": 8, "ngram_vocab_size_base": 400, "ple_embed_dim": 64}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4},
                                                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "gemma3n": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "qwen4_exp": INDEXED, "qwen4_exp_text": INDEXED,
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 48], "axial_pos_shape": [32, 32]},
    "xlnet": {"d_head": 16},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "hybrid_layer_ids": [1, 3]},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""What the configurations of some model types cannot be without."""
_SMALL = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": CONTEXT}
WHOLE: dict[str, dict[str, Any]] = {
    "blt": {
        "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "local_attention_window_len": 40,
        "encoder_hash_byte_group_vocab": 500, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        "patcher_config": {**_SMALL, "vocab_size": VOCAB, "num_hidden_layers": 1},
        "encoder_config": {**_SMALL, "vocab_size": VOCAB, "num_hidden_layers": 1, "hidden_size_global": 128},
        "decoder_config": {**_SMALL, "vocab_size": VOCAB, "num_hidden_layers": LAYERS, "hidden_size_global": 128},
        "global_config": {**_SMALL, "hidden_size": 128, "num_hidden_layers": LAYERS},
    },
}  # fmt: skip
"""Configurations of model types that are several models, none of them the one that others are made of."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    "llama-yarn": ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4,
                                                 "original_max_position_embeddings": 512}}),
    "llama-odd": ("llama", {"hidden_size": 60, "head_dim": 10, "intermediate_size": 90}),
    "llama-gelu": ("llama", {"hidden_act": "gelu"}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-wide": ("llama", {"intermediate_size": 1032}),
    "phi3-longrope": ("phi3", {"original_max_position_embeddings": 512, "max_position_embeddings": 1024, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 512}}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}),
    "qwen2_moe-window": ("qwen2_moe", {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 40}),
    "qwen3_moe-mixed": ("qwen3_moe", {"decoder_sparse_step": 2}),
    "mixtral-window": ("mixtral", {"sliding_window": 40}),
    "mistral-nowindow": ("mistral", {"sliding_window": None}),
    "gemma3-bidirectional": ("gemma3_text", {"use_bidirectional_attention": True}),
    "ministral3-scale": ("ministral3", {"rope_parameters": {
        "rope_type": "yarn", "factor": 16.0, "rope_theta": 1e4, "original_max_position_embeddings": 64,
        "llama_4_scaling_beta": 0.1,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    "llama4_text-temp": ("llama4_text", {"attn_temperature_tuning": True, "floor_scale": 16, "attn_scale": 0.3}),
    "llama4_text-chunk24": ("llama4_text", {"attention_chunk_size": 24}),
    "deepseek_v3-groups": ("deepseek_v3", {"n_group": 2, "topk_group": 1}),
    "gpt2-scaled": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "falcon-alibi": ("falcon", {"alibi": True}),
    "falcon-new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "bert-decoder": ("bert", {"is_decoder": True}),
    "gemma4-moe": ("gemma4_text", {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size":
    48}),
    "bamba-attn": ("bamba", {"attn_layer_indices": [0, 1, 2, 3]}),
    "deepseek_v2-groups": ("deepseek_v2", {"n_group": 2, "topk_group": 1, "topk_method": "group_limited_greedy"}),
    "exaone4-window": ("exaone4", {"sliding_window": 40, "sliding_window_pattern": LAYERS}),
    "gemma3n-shared": ("gemma3n_text", {"num_kv_shared_layers": 2}),
    "gemma3n-sparse": ("gemma3n_text", {"activation_sparsity_pattern": [0.95, 0.0, 0.95, 0.0]}),
    "gemma4-noperlayer": ("gemma4_text", {"hidden_size_per_layer_input": 0}),
    "gemma4-shared": ("gemma4_text", {"num_kv_shared_layers": 2}),
    "granitemoehybrid-attn": ("granitemoehybrid", {"layer_types": ["attention"] * LAYERS}),
    "granitemoehybrid-dense": ("granitemoehybrid", {"layer_types": ["attention"] * LAYERS, "num_local_experts": 0}),
    "jamba-attn": ("jamba", {"attn_layer_period": 1, "attn_layer_offset": 0}),
    "lfm2-conv": ("lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    "llama-1kv": ("llama", {"num_key_value_heads": 1}),
    "llama-bias": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-llama3": ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "rope_theta": 1e4,
                                                   "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                   "original_max_position_embeddings": 256}}),
    "llama-vocab321": ("llama", {"vocab_size": VOCAB + 1}),
    "minimax_m3-sparse": ("minimax_m3_vl_text", {"layer_types": ["minimax_m3_sparse"] * LAYERS}),
    "nemotron_h-attn": ("nemotron_h", {"hybrid_override_pattern": "*" * LAYERS}),
    "phi-partial": ("phi", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}}),
    "qwen2_moe-nowindow": ("qwen2_moe", {"use_sliding_window": False}),
    "starcoder2-window": ("starcoder2", {"sliding_window": 40}),
    "zaya-window": ("zaya", {"sliding_window": 40, "use_sliding_window": True}),
}  # fmt: skip


def tiny_config(kind: str, options: dict[str, Any]) -> Any:
    """The configuration of a model type, with sizes of SIZES wherever it has them."""
    from transformers import CONFIG_MAPPING

    cls = CONFIG_MAPPING[kind]
    if kind in WHOLE:
        return cls(**WHOLE[kind])

    def shrunk(told: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        layers = told.get("num_hidden_layers")
        out = {key: value for key, value in told.items() if key not in DROPPED}
        for key, value in out.items():
            if isinstance(value, list) and len(value) == layers:
                out[key] = [SIZES[key]] * LAYERS if key in SIZES else value[:LAYERS]
            if key in SIZES and value is not None and not isinstance(value, list | dict):
                out[key] = SIZES[key]
        out |= {key: SIZES[key] for key in NEVER_NONE if key in out and out[key] is None}
        if "kv_lora_rank" in out or "num_key_value_heads" in EVEN.get(kind, ()):
            out["num_key_value_heads"] = 4
        return {**out, **given}

    told, options = cls().to_dict(), {**NEEDED.get(kind, {}), **options}
    inner = [key for key in ("text_config", "decoder", "decoder_config", "llm_config") if isinstance(told.get(key), dict)]
    made = shrunk(told, {} if inner else options)
    for key in inner:
        made[key] = shrunk(told[key], options)
    for key in [key for key in made if key.endswith("_config") and key not in inner]:
        del made[key]
    for key in ("model_type",):
        made.pop(key, None)
    return cls(**made)


def write(kind: str, options: dict[str, Any], path: Path) -> None:
    """A model of seeded random weights with a standard deviation of 0.2, its norms near one."""
    import torch
    from transformers import AutoModelForCausalLM

    from foreword.testing.tiny_models import write_tokenizer

    torch.manual_seed(7)
    config = tiny_config(kind, options)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            gain = "norm" in name.lower() and name.endswith("weight") and weight.ndim == 1
            weight.normal_(1.0 if gain and bool(weight.mean() > 0.5) else 0.0, 0.1 if gain else 0.2)
    model.save_pretrained(path)
    write_tokenizer(path)


def served(path: Path, starts: str) -> dict[str, Any]:
    """In the child: the outcome of one model. The folder ``starts`` keeps what was found of it for the second start."""
    import logging

    import torch

    from foreword.errors import ForewordError
    from foreword.testing.tiny_models import VOCAB

    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                said.append(record.getMessage())

    logging.getLogger("foreword").addHandler(Ear())
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests")
    from engine.recording import RecordingEngine

    options = {"kv_cache_memory_bytes": 2**23, "self_test": True, "start_cache_dir": starts}
    rng = random.Random(3)
    prompts = [[rng.randrange(2, VOCAB) for _ in range(length)] for length in (PROMPT, 90, 33)]
    try:
        alone = RecordingEngine(str(path), enable_prefix_caching=False, max_num_batched_tokens=2048, **options)
    except ForewordError as error:
        return {"outcome": "refused", "why": str(error)}
    except Exception as error:
        return {"outcome": "CRASH", "why": f"load: {type(error).__name__}: {error}"}
    try:
        engine = RecordingEngine(str(path), max_num_batched_tokens=37, max_num_seqs=8, **options)
        whole = [alone.run(prompt, max_tokens=3)[0] for prompt in prompts]
        mixed = engine.run(*prompts, max_tokens=3)
        cached = engine.run(prompts[0], prompts[0][:100] + prompts[1], max_tokens=3)
        wanted = [alone.run(prompts[0][:100] + prompts[1], max_tokens=3)[0]]
    except Exception as error:
        return {"outcome": "CRASH", "why": f"run: {type(error).__name__}: {error}"}
    pairs = [*zip(mixed, whole, strict=True), (cached[0], whole[0]), (cached[1], wanted[0])]
    worst, same = 0.0, True
    for got, expected in pairs:
        shared = got.logits.keys() & expected.logits.keys()
        same &= bool(shared) and all(torch.equal(got.logits[at], expected.logits[at]) for at in shared)
    model = oracle(path)
    for trace, prompt in zip([*whole, *mixed, cached[0]], [*prompts, *prompts, prompts[0]], strict=True):
        assert trace.output is not None
        ids = prompt + list(trace.output.outputs[0].token_ids)
        with torch.inference_mode():
            expected = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
        for at, logits in trace.logits.items():
            worst = max(worst, float((logits - expected[at]).abs().max() / expected[at].abs().max()))
    told = any("bits" in line or "to the bit" in line for line in said)
    outcome = "WRONG" if not worst < 1e-4 else "ok" if same else "said" if told else "UNSAID"
    return {"outcome": outcome, "error": worst, "same_bits": same, "warned": said}


def oracle(path: Path) -> Any:
    """transformers' own model and eager attention; a rope that depends on the longest request turns all alike, as served."""
    import torch
    from transformers import AutoModelForCausalLM

    from foreword.engine.rope import fix_frequencies

    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager", dtype=torch.float32).eval()
    fix_frequencies(model, model.config.get_text_config(), CONTEXT)
    return model


def try_one(name: str, threads: int, keep: Path | None) -> dict[str, Any]:
    """Write and serve a model in a process of its own, for a crash of the interpreter is an outcome as well."""
    folder = (keep or Path(tempfile.mkdtemp())) / name
    with tempfile.NamedTemporaryFile("r") as answer:
        child = multiprocessing.get_context("fork").Process(target=_child, args=(name, threads, folder, answer.name))
        child.start()
        child.join(SECONDS * PATIENCE)
        late = child.is_alive()
        if late:
            child.kill()
            child.join()
        text, written = answer.read(), (folder / "tokenizer.json").exists()
    if keep is None:
        shutil.rmtree(folder.parent, ignore_errors=True)
    if late or child.exitcode == -signal.SIGXCPU:
        return {"outcome": "CRASH" if written else "unbuilt", "why": f"not done after {SECONDS} s"}
    found: dict[str, Any] = json.loads(text) if text else {"outcome": "CRASH", "why": f"status {child.exitcode}"}
    return found


def _child(name: str, threads: int, folder: Path, answer: str) -> None:
    import torch

    torch.set_num_threads(threads)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    try:
        if not (folder / "tokenizer.json").exists():
            kind, options = VARIANTS.get(name, (name, {}))
            write(kind, options, folder)
        with tempfile.TemporaryDirectory() as starts:
            found = served(folder, starts)
    except Exception as error:
        found = {"outcome": "unbuilt", "why": f"{type(error).__name__}: {error}"[:300]}
    Path(answer).write_text(json.dumps(found))


def names() -> list[str]:
    """Of all architectures, and the variants of some."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of architectures; all if none is named")
    parser.add_argument("--threads", default="2", help="comma-separated")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the models in this folder, and take them from there")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file, and go on behind those that it has")
    told = parser.parse_args()
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401 - once, for all that are forked

    import foreword.engine.build  # noqa: F401

    todo = [(name, int(threads)) for threads in told.threads.split(",") for name in told.names or names()]
    found: dict[str, Any] = json.loads(told.json.read_text()) if told.json and told.json.exists() else {}
    todo = [(name, threads) for name, threads in todo if f"{name}@{threads}" not in found]
    with ThreadPoolExecutor(told.jobs) as pool:
        outcomes = pool.map(lambda each: try_one(each[0], each[1], told.keep), todo)
        for (name, threads), got in zip(todo, outcomes, strict=True):
            found[f"{name}@{threads}"] = got
            rest = got.get("why") or f"error {got.get('error'):.1e}"
            print(f"{got['outcome']:8} {name} ({threads} threads): {rest}", flush=True)
            if told.json:
                told.json.write_text(json.dumps(found, indent=1) + "\n")
    print(dict(Counter(got["outcome"] for got in found.values())))
    raise SystemExit(any(got["outcome"] in FAULTS for got in found.values()))


if __name__ == "__main__":
    main()
