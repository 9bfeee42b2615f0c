"""One forward pass through a model's modelling code: what it is given, and the logits that come back."""

from contextvars import ContextVar
from typing import Any

import torch

from foreword.backends.base import LayerStep, running
from foreword.backends.whole_vectors import WholeVectors

_positions: ContextVar[torch.Tensor] = ContextVar("positions")


def current_positions() -> torch.Tensor:
    """Of the rows of the forward pass that is running in this thread: int64 [rows]. LookupError outside of one."""
    return _positions.get()


def run_model(module: Any, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, step: LayerStep) -> torch.Tensor:
    """Logits [kept, vocabulary] of the rows ``keep`` [kept], from ``ids`` and ``positions`` [rows], all int64.

    Layers attend by ``step``. Some models give the logits of all rows whatever they are asked for.
    """
    token = _positions.set(positions)
    try:
        with running(step), WholeVectors():
            out = module(input_ids=ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=keep)
    finally:
        _positions.reset(token)
    logits: torch.Tensor = out.logits[0]
    return logits if len(logits) == len(keep) else logits[keep]
