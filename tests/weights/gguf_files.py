"""Tiny GGUF files, written as llama.cpp's converter writes them: of a model in Hugging Face layout, or by hand."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType
from safetensors.numpy import load_file

Numbers = npt.NDArray[np.float32]
ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3"}
TURNED = ("llama", "smollm3", "granite")
OFFSET = ("gemma", "gemma2", "gemma3")
COMMON = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj":
    "attn_output", "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
LATE = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm",
        "pre_feedforward_layernorm": "ffn_norm"}  # fmt: skip
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
PRE_TOKENIZER = "gpt-2"


def _half(number: float) -> bytes:
    return np.float16(number).tobytes()


DRAWN = {
    "Q4_K": {0: _half(5e-4), 2: _half(5e-4 * 7.5)}, "Q5_K": {0: _half(2.5e-4), 2: _half(2.5e-4 * 15.5)},
    "Q6_K": {208: _half(5e-5)}, "Q2_K": {80: _half(8e-3), 82: _half(8e-3 * 1.5)}, "Q3_K": {108: _half(1e-3)},
    "IQ4_XS": {0: _half(3e-5)}, "IQ4_NL": {0: _half(8e-4)}, "MXFP4": {0: bytes([120])},
    "NVFP4": {0: bytes([24, 20, 28, 22])}, "TQ1_0": {52: _half(0.05)}, "TQ2_0": {64: _half(0.05)},
    **{name: {0: _half(3e-4)} for name in ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")},
    "IQ1_S": {0: _half(8e-3)}, "IQ1_M": {48: bytes([0x21, 0x03, 0x45, 0x06, 0x12, 0x07, 0x33, 0x21])},
}  # fmt: skip
"""Types whose blocks are drawn, and bytes that are the same in all of them, by where they stand: scales, for weights of some
tenths at most."""
UNREAD = ("Q8_1", "Q8_K", "I8", "I32", "F64")
"""Types that no file has for weights."""


def gguf_name(name: str, architecture: str) -> str:
    """What a tensor of transformers is called in a file."""
    module, _, kind = name.rpartition(".")
    if module in WHOLE:
        return f"{WHOLE[module]}.{kind}"
    _, _, layer, part = module.split(".", 3)
    names = {**COMMON, **(LATE if architecture in ("gemma2", "gemma3", "olmo2") else {})}
    return f"blk.{layer}.{names[part]}.{kind}"


def write_gguf(
    path: Path,
    directory: str | Path,
    kind: str = "F32",
    more: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, Numbers]], object] = len,
) -> Path:
    """Write a model's file, its matrices in the type ``kind`` where their rows allow that; in one of DRAWN or UNREAD,
    which the package does not make of floats, they are random.

    ``more`` is metadata beside the usual, None taking a value away; ``change`` may change the tensors, by their names in the
    file, before they are written.
    """
    directory = Path(directory)
    config = json.loads((directory / "config.json").read_text())
    architecture = ARCHITECTURES.get(config["model_type"], config["model_type"])
    words = _of_words(directory, config["vocab_size"])
    values = {**_of_model(config, architecture), **words, **(more or {})}
    tensors = {}
    for name, weight in load_file(directory / "model.safetensors").items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        tensors[gguf_name(name, architecture)] = _converted(name, weight, config, architecture)
    change(tensors)
    return write(path, values, tensors, kind, architecture)


def write(path: Path, values: Mapping[str, Any], tensors: Mapping[str, Numbers], kind: str, architecture: str) -> Path:
    """Write a file of metadata and tensors."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            (writer.add_uint32 if value >= 0 else writer.add_int32)(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif value is not None:
            writer.add_array(key, value)
    wanted = GGMLQuantizationType[kind]
    block = gguf.GGML_QUANT_SIZES[wanted][0]
    for name, weight in tensors.items():
        type_ = wanted if weight.ndim > 1 and weight.shape[-1] % block == 0 else GGMLQuantizationType.F32
        drawn = type_.name in (*DRAWN, *UNREAD)
        stored = _random_blocks(weight.shape, kind) if drawn else gguf.quants.quantize(weight, type_)
        writer.add_tensor(name, stored, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _random_blocks(shape: tuple[int, ...], kind: str) -> npt.NDArray[np.uint8]:
    """Blocks whose weights are about 0, and some tenths at most."""
    block, size = gguf.GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    raw = np.random.default_rng(shape).integers(0, 256, (int(np.prod(shape)) // block, size), np.uint8)
    for place, fixed in DRAWN.get(kind, {}).items():
        raw[:, place : place + len(fixed)] = np.frombuffer(fixed, np.uint8)
    return raw.reshape(*shape[:-1], -1)


def _converted(name: str, weight: Numbers, config: Mapping[str, Any], architecture: str) -> Numbers:
    weight = np.asarray(weight, np.float32)
    if architecture in OFFSET and name.endswith("norm.weight"):
        return weight + 1
    for part, key in ((".q_proj.", "num_attention_heads"), (".k_proj.", "num_key_value_heads")):
        if architecture in TURNED and part in name:
            heads = config[key]
            halves = weight.reshape(heads, 2, len(weight) // heads // 2, *weight.shape[1:])
            return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)
    return weight


def _of_model(config: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    rope = config["rope_parameters"]
    rope, local = rope.get("full_attention", rope), rope.get("sliding_attention", {})
    values = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "attention.key_length": config.get("head_dim"),
        "rope.freq_base": float(rope["rope_theta"]),
        "rope.freq_base_swa": float(local["rope_theta"]) if local else None,
        "attention.sliding_window": config.get("sliding_window"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "attention.scale": config.get("attention_multiplier"),
        "embedding_scale": config.get("embedding_multiplier"),
        "residual_scale": config.get("residual_multiplier"),
        "logit_scale": config.get("logits_scaling"),
        "rope.scaling.type": rope["rope_type"] if rope["rope_type"] in ("linear", "yarn") else None,
        "rope.scaling.factor": rope.get("factor") if rope["rope_type"] in ("linear", "yarn") else None,
        "rope.scaling.original_context_length": rope.get("original_max_position_embeddings"),
    }
    return {f"{architecture}.{key}": value for key, value in values.items()}


def _of_words(directory: Path, count: int) -> dict[str, Any]:
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    unused = [f"[PAD{place}]" for place in range(len(tokens), count)]
    template = directory / "chat_template.jinja"
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": PRE_TOKENIZER,
        "tokenizer.ggml.tokens": tokens + unused,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens] + [5] * len(unused),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": vocabulary["<s>"],
        "tokenizer.ggml.eos_token_id": vocabulary["</s>"],
        "tokenizer.chat_template": template.read_text() if template.is_file() else None,
    }
