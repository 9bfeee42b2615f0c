"""Modules whose weights stay in a model's file until they are asked for: no second copy of the file in memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from foreword.errors import ModelError
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.dequantize import dequantized, weights_of

Load = Callable[[], torch.Tensor]
"""Reads a weight: [out, in]."""


class StoredEmbedding(nn.Module):
    """An embedding that reads the rows that it is asked for from a file: ids → rows, times ``scale``."""

    def __init__(self, rows: Callable[[torch.Tensor], torch.Tensor], scale: float = 1.0):
        """``rows`` gives float32 [ids, width] for ids [ids]."""
        super().__init__()
        self._rows, self._scale = rows, scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Ids [...] → float32 [..., width]."""
        rows = self._rows(ids.reshape(-1))
        if self._scale != 1.0:
            rows = rows * self._scale
        return rows.view(*ids.shape, -1)


def stored_embedding(checkpoint: Checkpoint, name: str, scale: float = 1.0) -> StoredEmbedding:
    """The embedding of a checkpoint's tensor. ModelError where there is none."""
    format = checkpoint.block_formats().get(name)
    if format is None:
        numbers = wanted(checkpoint, name)
        return StoredEmbedding(lambda ids: numbers[ids].float(), scale)
    blocks = checkpoint.blocks(name)
    return StoredEmbedding(lambda ids: dequantized(blocks[ids], format).float(), scale)


def stored_linear(checkpoint: Checkpoint, name: str) -> nn.Linear:
    """The linear layer of a checkpoint's tensors ``name.weight`` and, if there is one, ``name.bias``: without its weight,
    which is read for each call, and let go behind it. ModelError where there is none."""
    outside, inside = _shape(checkpoint, f"{name}.weight")
    bias = checkpoint.tensor(f"{name}.bias")
    layer = nn.Linear(inside, outside, bias=bias is not None, device="meta")
    if bias is not None:
        layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    keep_stored(layer, lambda: wanted(checkpoint, f"{name}.weight"))
    return layer


def wanted(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """A checkpoint's tensor. ModelError where there is none."""
    found = checkpoint.tensor(name)
    if found is None:
        raise ModelError(f"Model {checkpoint.name!r} has no tensor {name!r}. Check the files, or download them again.")
    return found


def keep_stored(layer: nn.Linear, load: Load) -> None:
    """Let go of a layer's weight: it is read for each call, in float32."""
    absent = nn.Parameter(torch.empty(layer.out_features, layer.in_features, device="meta"), requires_grad=False)
    layer.weight = absent

    def bring(module: Any, _: Any) -> None:
        module.weight = nn.Parameter(load().float(), requires_grad=False)

    def let_go(module: Any, _: Any, __: Any) -> None:
        module.weight = absent

    layer.register_forward_pre_hook(bring)
    layer.register_forward_hook(let_go)


def _shape(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    format = checkpoint.block_formats().get(name)
    if format is None:
        outside, inside = wanted(checkpoint, name).shape
        return outside, inside
    rows, row_bytes = checkpoint.blocks(name).shape
    return rows, weights_of(row_bytes, format)
