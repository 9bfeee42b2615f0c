"""Queries that are scaled by their position, where modelling code counts positions by itself: Llama 4's layers without rope.

They count from the number of tokens in transformers' cache, which a packed batch of several requests has none of. While a
step runs they leave it, and our attention scales the queries by the positions that the step has.
"""

from functools import partial
from typing import Any

import torch

from foreword.backends.base import current_step
from foreword.engine.forward import current_positions

SCALES = "foreword_scales"
"""The attribute of an attention module: from positions [rows] to factors [rows]."""


class _OutsideOfSteps:
    """True where no step runs: transformers' own code is to do as it always does."""

    def __bool__(self) -> bool:
        try:
            current_step()
        except LookupError:
            return True
        return False


def take_over(module: Any) -> None:
    """Let our attention scale the queries of all layers of a model that do so by themselves."""
    for child in module.modules():
        if getattr(child, "attn_temperature_tuning", False) and not getattr(child, "use_rope", True):
            child.attn_temperature_tuning = _OutsideOfSteps()
            setattr(child, SCALES, partial(_scales, float(child.floor_scale), float(child.attn_scale)))


def counts_by_itself(module: Any) -> bool:
    """Whether a model's own code takes its text to begin at position 0, whatever positions it is given."""
    return any(hasattr(child, SCALES) for child in module.modules())


def scaled(module: torch.nn.Module, query: torch.Tensor) -> torch.Tensor:
    """``query`` [1, heads, rows, size] by the positions of its rows, if the module is one whose queries are."""
    scales = getattr(module, SCALES, None)
    return query if scales is None else query * scales(current_positions())[:, None]


def _scales(floor: float, share: float, positions: torch.Tensor) -> torch.Tensor:
    return torch.log1p(torch.floor((positions.float() + 1.0) / floor)) * share + 1.0
