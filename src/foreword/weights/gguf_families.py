"""The families of models that are read from GGUF files: how transformers calls what llama.cpp's converter wrote.

One entry a family says its name in transformers, what its tensors are called and which sizes they have, and what the
converter did to them. What a file holds beside that is refused by name, for it would be left out of the answer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LAYER = re.compile(r"^blk\.(\d+)\.(.+)\.(weight|bias)$")
QUERY, KEYS, HIDDEN, INNER, HEAD = "query", "keys", "hidden", "inner", "head"
"""Sizes: of all query heads, of all key heads, of a row, of the gated part, of one head."""
BOTH, ALL_HEADS = "both", "all heads"
"""Gate and up in one; queries, keys and values in one."""

Shape = tuple[str, ...]
Part = tuple[str, Shape]
"""A module's name in transformers' layer, and the shape of its weight."""

NORMS: dict[str, Part] = {
    "attn_norm": ("input_layernorm", (HIDDEN,)),
    "ffn_norm": ("post_attention_layernorm", (HIDDEN,)),
}
FOUR_NORMS: dict[str, Part] = {
    "attn_norm": ("input_layernorm", (HIDDEN,)),
    "post_attention_norm": ("post_attention_layernorm", (HIDDEN,)),
    "ffn_norm": ("pre_feedforward_layernorm", (HIDDEN,)),
    "post_ffw_norm": ("post_feedforward_layernorm", (HIDDEN,)),
}
LATE_NORMS: dict[str, Part] = {
    "post_attention_norm": ("post_attention_layernorm", (HIDDEN,)),
    "post_ffw_norm": ("post_feedforward_layernorm", (HIDDEN,)),
    "attn_q_norm": ("self_attn.q_norm", (QUERY,)),
    "attn_k_norm": ("self_attn.k_norm", (KEYS,)),
}
HEAD_NORMS: dict[str, Part] = {
    "attn_q_norm": ("self_attn.q_norm", (HEAD,)),
    "attn_k_norm": ("self_attn.k_norm", (HEAD,)),
}
ATTENTION: dict[str, Part] = {
    "attn_q": ("self_attn.q_proj", (QUERY, HIDDEN)),
    "attn_k": ("self_attn.k_proj", (KEYS, HIDDEN)),
    "attn_v": ("self_attn.v_proj", (KEYS, HIDDEN)),
    "attn_output": ("self_attn.o_proj", (HIDDEN, QUERY)),
}
GATED: dict[str, Part] = {
    "ffn_gate": ("mlp.gate_proj", (INNER, HIDDEN)),
    "ffn_up": ("mlp.up_proj", (INNER, HIDDEN)),
    "ffn_down": ("mlp.down_proj", (HIDDEN, INNER)),
}
JOINED: dict[str, Part] = {
    "attn_qkv": ("self_attn.qkv_proj", (ALL_HEADS, HIDDEN)),
    "attn_output": ("self_attn.o_proj", (HIDDEN, QUERY)),
    "ffn_up": ("mlp.gate_up_proj", (BOTH, HIDDEN)),
    "ffn_down": ("mlp.down_proj", (HIDDEN, INNER)),
}
WHOLE: dict[str, Part] = {
    "token_embd": ("model.embed_tokens", ("vocabulary", HIDDEN)),
    "output_norm": ("model.norm", (HIDDEN,)),
    "output": ("lm_head", ("vocabulary", HIDDEN)),
}
"""Tensors outside of layers."""

Values = Callable[[Mapping[str, Any], "Sizes"], dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """The numbers of a model that its family has to know for the rest of its configuration."""

    hidden: int
    layers: int
    heads: int
    head: int


def _none(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:  # noqa: ARG001
    return {}


@dataclass(frozen=True)
class Family:
    """One family.

    model_type
        Its name in transformers.
    parts
        Modules of a layer, by the names that their tensors have in a file.
    biases
        Those that may have a bias, by the same names.
    turned
        Whether the converter has put the rows of queries and keys into the order in which neighbours are rotated.
    norm_offset
        What the converter has added to the weights of norms.
    values
        What else its configuration says: of the metadata, without the architecture before their names, and sizes.
    """

    model_type: str
    parts: Mapping[str, Part]
    biases: frozenset[str] = frozenset()
    turned: bool = False
    norm_offset: float = 0.0
    values: Values = field(default=_none)


def _windowed(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:  # noqa: ARG001
    return {"sliding_window": values.get("attention.sliding_window") or None}


def _llama(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Mistral goes by the name of Llama; what tells it is a window."""
    window = _windowed(values, sizes)["sliding_window"]
    return {} if window is None else {"model_type": "mistral", "sliding_window": window}


def _gemma(values: Mapping[str, Any], sizes: Sizes, largest: int) -> dict[str, Any]:
    """``largest``: layers of the member whose attention is scaled by the size of a row's share, not of a head."""
    scalar = sizes.hidden // sizes.heads if sizes.layers == largest else sizes.head
    return {
        "query_pre_attn_scalar": scalar,
        "sliding_window": values.get("attention.sliding_window", 4096),
        "attn_logit_softcapping": values.get("attn_logit_softcapping"),
        "final_logit_softcapping": values.get("final_logit_softcapping"),
        "hidden_activation": "gelu_pytorch_tanh",
    }


def _gemma2(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    defaults = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return _gemma({**defaults, **values}, sizes, 46)


def _gemma3(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    pattern = values.get("attention.sliding_window_pattern", 6)
    if not isinstance(pattern, list):
        pattern = [bool((layer + 1) % pattern) for layer in range(sizes.layers)]
    kinds = ["sliding_attention" if windowed else "full_attention" for windowed in pattern]
    local = {"rope_type": "default", "rope_theta": values.get("rope.freq_base_swa", 10000.0)}
    ropes = {"full_attention": values["rope"], "sliding_attention": local}
    return {**_gemma(values, sizes, 62), "layer_types": kinds[: sizes.layers], "rope_parameters": ropes}


def _smollm3(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:  # noqa: ARG001
    return {"no_rope_layer_interval": 4, "use_sliding_window": False}


def _granite(values: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    return {
        "attention_multiplier": values.get("attention.scale", sizes.head**-0.5),
        "embedding_multiplier": values.get("embedding_scale", 1.0),
        "residual_multiplier": values.get("residual_scale", 1.0),
        "logits_scaling": values.get("logit_scale", 1.0),
    }


LINEAR = {**ATTENTION, **GATED}
QKV = frozenset({"attn_q", "attn_k", "attn_v"})
FAMILIES: dict[str, Family] = {
    "llama": Family("llama", {**NORMS, **LINEAR}, biases=frozenset(LINEAR), turned=True, values=_llama),
    "qwen2": Family("qwen2", {**NORMS, **LINEAR}, biases=QKV),
    "qwen3": Family("qwen3", {**NORMS, **HEAD_NORMS, **LINEAR}),
    "gemma": Family("gemma", {**NORMS, **LINEAR}, norm_offset=1.0),
    "gemma2": Family("gemma2", {**FOUR_NORMS, **LINEAR}, norm_offset=1.0, values=_gemma2),
    "gemma3": Family("gemma3_text", {**FOUR_NORMS, **HEAD_NORMS, **LINEAR}, norm_offset=1.0, values=_gemma3),
    "phi3": Family("phi3", {**NORMS, **JOINED}, values=_windowed),
    "smollm3": Family("smollm3", {**NORMS, **LINEAR}, turned=True, values=_smollm3),
    "granite": Family("granite", {**NORMS, **LINEAR}, turned=True, values=_granite),
    "olmo2": Family("olmo2", {**LATE_NORMS, **LINEAR}),
}
"""By the architecture that a file names."""
