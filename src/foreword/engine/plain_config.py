"""From a model's configuration to a plan of the plain model, where the configuration is all that there is to know."""

from collections.abc import Mapping
from typing import Any

import torch

from foreword.engine.plain_families import PLAIN_FAMILIES
from foreword.engine.plain_model import LOCAL, NONE, USUAL, PlainPlan
from foreword.weights.checkpoint import Described

WINDOWED = "sliding_attention"
EVERY_LAYER = ("mistral", "phi3")
"""Families whose layers all have the window."""


def plan_of_config(described: Described) -> PlainPlan | None:
    """The plan of a described model; None for one of another shape."""
    config = described.config
    kind, layers, head = config["model_type"], config["num_hidden_layers"], config["head_dim"]
    if kind not in PLAIN_FAMILIES:
        return None
    family, rope = PLAIN_FAMILIES[kind], config["rope_parameters"]
    usual, local = (rope["full_attention"], rope[WINDOWED]) if "full_attention" in rope else (rope, None)
    inv_freq = _frequencies(usual, head, described.frequency_factors)
    if inv_freq is None:
        return None
    windowed = _windowed(kind, config)
    scaling = config.get("attention_multiplier", config.get("query_pre_attn_scalar", head) ** -0.5)
    cap, window = config.get("attn_logit_softcapping"), config.get("sliding_window")
    return PlainPlan(
        layers="model.layers",
        embedding="model.embed_tokens",
        norm="model.norm",
        head="lm_head",
        attention=tuple((float(scaling), window if each else None, cap) for each in windowed),
        heads=(config["num_attention_heads"], config["num_key_value_heads"], head),
        eps=dict.fromkeys((*family.norms, "norm"), float(config["rms_norm_eps"])),
        inv_freq=inv_freq,
        turn_scaling=1.0,
        family=kind,
        local_inv_freq=() if local is None else _frequencies(local, head, described.frequency_factors) or (),
        turns=_turns(config, windowed, layers) if local is not None or "no_rope_layer_interval" in config else (),
        residual_scale=float(config.get("residual_multiplier", 1.0)),
        logit_scale=1.0 / config.get("logits_scaling", 1.0),
        logit_softcap=config.get("final_logit_softcapping"),
        embedding_scale=float(config["hidden_size"] ** 0.5 if family.scaled_embedding else _embedding_scale(config)),
    )


def _embedding_scale(config: Mapping[str, Any]) -> float:
    return float(config.get("embedding_multiplier", 1.0))


def _windowed(kind: str, config: Mapping[str, Any]) -> list[bool]:
    """Of each layer, whether it has the window."""
    layers = config["num_hidden_layers"]
    if kind == "gemma2":
        return [layer % 2 == 0 for layer in range(layers)]
    if "layer_types" in config:
        return [each == WINDOWED for each in config["layer_types"]]
    return [kind in EVERY_LAYER and config.get("sliding_window") is not None] * layers


def _turns(config: Mapping[str, Any], windowed: list[bool], layers: int) -> tuple[int, ...]:
    """Which rotary positions each layer has."""
    if (interval := config.get("no_rope_layer_interval")) is not None:
        return tuple(NONE if (layer + 1) % interval == 0 else USUAL for layer in range(layers))
    return tuple(LOCAL if each else USUAL for each in windowed)


def _frequencies(rope: Mapping[str, Any], head: int, factors: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Of rotary positions, in float32, as transformers computes them; None for a kind that is not simple."""
    if rope.get("rope_type") not in ("default", "linear"):
        return None
    turned = int(head * rope.get("partial_rotary_factor", 1.0))
    frequencies = 1.0 / (rope["rope_theta"] ** (torch.arange(0, turned, 2, dtype=torch.float) / turned))
    if rope["rope_type"] == "linear":
        frequencies = frequencies / rope["factor"]
    if factors is not None:
        frequencies = frequencies / torch.tensor(factors)
    return tuple(frequencies.tolist())
