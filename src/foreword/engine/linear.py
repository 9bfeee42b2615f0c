"""Linear layers whose result for a row does not depend on the other rows.

MKL picks another kernel, hence another order of summation, for few rows; oneDNN with weights packed in advance gives a row
the same bits from two rows on. It is a property observed of these libraries, not promised by them, so a self-test checks it
at start (self_test.py).
"""

import torch
from torch import nn


class PackedLinear(nn.Module):
    """A float32 linear layer with oneDNN-packed weights. One row is computed as two."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., out_features]."""
        flat = rows.reshape(-1, self.in_features)
        if len(flat) == 1:
            flat = flat.expand(2, -1)
            return _apply(flat, self.packed, self.bias)[:1].view(*rows.shape[:-1], self.out_features)
        return _apply(flat, self.packed, self.bias).view(*rows.shape[:-1], self.out_features)


def _apply(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return out


def can_pack() -> bool:
    """Whether this build and CPU have oneDNN."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def pack_linear_layers(model: nn.Module) -> int:
    """Replace every nn.Linear of a float32 model by a PackedLinear; returns how many."""
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child.weight, child.bias))
                count += 1
    return count
