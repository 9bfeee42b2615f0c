"""Linear layers whose result for a row does not depend on the other rows: in float32 and in int8, by our own kernels.

Libraries pick another kernel, hence another order of summation, for few rows. Ours sums every result in one order
(kernels/linear.py). In int8 the sums are whole numbers, hence exact in any order; a row is scaled by its own largest
number, never by the batch's (kernels/int8.py).
"""

from collections.abc import Sequence

import torch
from torch import nn

from foreword.backends.cpu.kernels.compiler import Call, addresses
from foreword.backends.cpu.kernels.elementwise import add_bias
from foreword.backends.cpu.kernels.int8 import multiply_int8, pack_int8, product_int8
from foreword.backends.cpu.kernels.linear import multiply, pack, product


class PackedLinear(nn.Module):
    """A float32 linear layer with packed weights."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.packed = pack(weight.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., out_features]."""
        out = multiply(rows.reshape(-1, self.in_features).contiguous(), self.packed)
        return _finished(out, self.bias, (*rows.shape[:-1], self.out_features))


class Int8Linear(nn.Module):
    """A linear layer in int8: one scale for each output channel's weights, one for each row of the input.

    The weights take a quarter of float32's memory; the result is about 1 % off (of the largest) for random numbers.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.packed, self.scales = pack_int8(weight.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., out_features], float32."""
        out = multiply_int8(rows.reshape(-1, self.in_features).contiguous(), self.packed, self.scales)
        return _finished(out, self.bias, (*rows.shape[:-1], self.out_features))


class LinearStack:
    """The linear layers that stand in the same place in several decoder layers; sizes are multiples of 16."""

    def __init__(self, layers: Sequence[PackedLinear | Int8Linear]):
        self._sizes = tuple(layers[0].packed.shape[:2])
        self._packed = addresses(layer.packed for layer in layers)
        self._scales = addresses(layer.scales for layer in layers if isinstance(layer, Int8Linear))
        self._biases = addresses(layer.bias for layer in layers if layer.bias is not None)

    def calls(self, rows: torch.Tensor, out: torch.Tensor) -> list[Call]:
        """The calls of kernels that put the product of ``rows`` [rows, in] into ``out`` [rows, out], layer by layer."""
        if len(self._scales):
            calls = [*product_int8(rows, self._packed, self._sizes, self._scales, out)]
        else:
            calls = [product(rows, self._packed, self._sizes, out)]
        return [*calls, add_bias(out, self._biases)] if len(self._biases) else calls


def _finished(out: torch.Tensor, bias: torch.Tensor | None, shape: tuple[int, ...]) -> torch.Tensor:
    """Without the columns that only fill up the last panel, and with the bias."""
    if out.shape[1] != shape[-1]:
        out = out[:, : shape[-1]].contiguous()
    return (out if bias is None else out.add_(bias)).view(shape)


class _Together:
    """One layer in place of several that read the same rows. The first that is called computes for all."""

    def __init__(self, layer: nn.Module, sizes: list[int]):
        self.layer = layer
        self.sizes = sizes
        self.rows: torch.Tensor | None = None
        self.outs: dict[int, torch.Tensor] = {}

    def take(self, index: int, rows: torch.Tensor) -> torch.Tensor:
        """The part ``index`` of the outputs for these rows; each part is given once, then forgotten."""
        if self.rows is not rows or index not in self.outs:
            self.rows = rows
            self.outs = dict(enumerate(self.layer(rows).split(self.sizes, -1)))
        out = self.outs.pop(index)
        if not self.outs:
            self.rows = None
        return out


class JoinedLinear(nn.Module):
    """One of several linear layers that are computed together."""

    def __init__(self, together: _Together, index: int):
        super().__init__()
        self.index = index
        self.together = together
        self.layer = together.layer if index == 0 else None  # listed once among the model's modules

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., out_features], a view."""
        return self.together.take(self.index, rows)


JOINED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that read the same rows, by the names that transformers gives them."""
QUANTIZATIONS = ("none", "int8")


def pack_linear_layers(model: nn.Module, quantization: str) -> int:
    """Replace every nn.Linear of a float32 model by a PackedLinear, or an Int8Linear; returns how many there were.

    Layers that read the same rows become one.
    """
    kind, count = Int8Linear if quantization == "int8" else PackedLinear, 0
    for parent in list(model.modules()):
        linear = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
        count += len(linear)
        for names in JOINED:
            if all(name in linear for name in names) and _can_join([linear[name] for name in names]):
                _join(parent, names, [linear.pop(name) for name in names], kind)
        for name, child in linear.items():
            setattr(parent, name, kind(child.weight, child.bias))
    return count


def _can_join(layers: list[nn.Linear]) -> bool:
    return len({(layer.in_features, layer.bias is None) for layer in layers}) == 1


def _join(parent: nn.Module, names: tuple[str, ...], layers: list[nn.Linear], kind: type[PackedLinear | Int8Linear]) -> None:
    weight = torch.cat([layer.weight.detach() for layer in layers])
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    together = _Together(kind(weight, torch.cat(biases) if biases else None), [layer.out_features for layer in layers])
    for index, name in enumerate(names):
        setattr(parent, name, JoinedLinear(together, index))
