"""One forward pass through a model's modelling code: what it is given, and the logits that come back."""

from contextlib import nullcontext
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

    Layers attend by ``step``. Some models give the logits of all rows whatever they are asked for. torch's functions are
    computed in whole vectors: torch is asked to pass each call on to us, which takes longer than a lone row's arithmetic, so
    a model that sees to it by itself says ``computes_whole_vectors``.
    """
    token = _positions.set(positions)
    try:
        whole = nullcontext() if getattr(module, "computes_whole_vectors", False) else WholeVectors()
        with running(step), whole:
            out = module(input_ids=ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=keep)
    finally:
        _positions.reset(token)
    logits: torch.Tensor = out.logits[0]
    return logits if len(logits) == len(keep) else logits[keep]
