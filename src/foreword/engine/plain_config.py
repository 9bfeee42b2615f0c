"""From a model's configuration to a plan of the plain model, where the configuration is all that there is to know."""

from collections.abc import Mapping
from typing import Any

import torch

from foreword.engine.plain_model import HEAD_NORMS, NORMS, PlainPlan
from foreword.weights.checkpoint import Described

PLAIN_KINDS = {"llama": False, "mistral": False, "qwen2": False, "qwen3": True}
"""Families whose layers PlainLayer computes, by transformers' names, and whether each query and key head has a norm."""


def plan_of_config(described: Described) -> PlainPlan | None:
    """The plan of a described model; None for one of another shape."""
    config = described.config
    inv_freq = _frequencies(config["rope_parameters"], config["head_dim"], described.frequency_factors)
    if config["model_type"] not in PLAIN_KINDS or inv_freq is None:
        return None
    norms = NORMS + (HEAD_NORMS if PLAIN_KINDS[config["model_type"]] else ())
    window = config.get("sliding_window") if config["model_type"] == "mistral" else None
    call = float(config["head_dim"] ** -0.5), window, None
    return PlainPlan(
        layers="model.layers",
        embedding="model.embed_tokens",
        norm="model.norm",
        head="lm_head",
        attention=(call,) * config["num_hidden_layers"],
        eps=dict.fromkeys((*norms, "norm"), float(config["rms_norm_eps"])),
        inv_freq=inv_freq,
        turn_scaling=1.0,
    )


def _frequencies(rope: Mapping[str, Any], head: int, factors: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Of rotary positions, in float32, as transformers computes them; None for a kind that is not simple."""
    if rope.get("rope_type") not in ("default", "linear") or "partial_rotary_factor" in rope:
        return None
    frequencies = 1.0 / (rope["rope_theta"] ** (torch.arange(0, head, 2, dtype=torch.float) / head))
    if rope["rope_type"] == "linear":
        frequencies = frequencies / rope["factor"]
    if factors is not None:
        frequencies = frequencies / torch.tensor(factors)
    return tuple(frequencies.tolist())
