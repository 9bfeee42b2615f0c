"""Linear layers whose result for a row does not depend on the other rows, in any weight format.

Libraries pick another kernel, hence another order of summation, for few rows. A format's kernels have one order.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from foreword.backends.base import WeightSource
from foreword.backends.cpu.formats import FORMATS, weight_format
from foreword.backends.cpu.kernels.compiler import Call, addresses
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.elementwise import add_bias
from foreword.backends.cpu.kernels.ir_builder import LANES
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.packed_matrix import PackedMatrix, pack_matrices
from foreword.backends.cpu.weight_format import PackedWeight, WeightFormat
from foreword.errors import ModelError

JOINED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that read the same rows, by the names that transformers gives them."""
WITHOUT_KERNELS = "int8"
"""What weights are brought to that are stored in blocks of a format without kernels of ours."""


class PackedLinear(nn.Module):
    """A linear layer with packed weights."""

    def __init__(self, format: WeightFormat, packed: PackedWeight, bias: torch.Tensor | None):
        super().__init__()
        self.format = format
        self.packed = packed
        self.out_features, self.in_features = packed.out_features, packed.in_features
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)

    @property
    def weight(self) -> PackedMatrix:
        """Without the bias, for code that multiplies by it instead of calling the layer."""
        return _WeightOf(self)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., out_features], float32."""
        given = rows.reshape(-1, self.in_features).contiguous()
        group = self.format.joins_at
        out = given.new_empty(len(given), -(-self.out_features // group) * group)
        for call in self.format.calls(given, (self.out_features, self.in_features), self.packed.parts, out):
            call.run()
        if out.shape[1] != self.out_features:
            out = out[:, : self.out_features].contiguous()
        return (out if self.bias is None else out.add_(self.bias)).view(*rows.shape[:-1], self.out_features)


class _WeightOf(PackedMatrix):
    """The weight of a packed layer."""

    def __init__(self, layer: PackedLinear):
        self._packed = PackedLinear(layer.format, layer.packed, None)
        super().__init__(torch.empty(layer.out_features, layer.in_features, device="meta"), lambda _: self._packed)

    def layer(self, turned: bool) -> nn.Module:
        """See PackedMatrix."""
        if turned:
            raise NotImplementedError("The weight of a packed layer is used as another layer's, transposed.")
        return self._packed

    def numbers(self) -> torch.Tensor:
        """See PackedMatrix: as they are packed."""
        return self._packed.format.rows(self._packed.packed, torch.arange(self.shape[0]))


class LinearsBeside(nn.Module):
    """Linear layers of different formats that read the same rows, as one: outputs side by side, multiples of 16."""

    def __init__(self, pieces: Sequence[PackedLinear], bias: torch.Tensor | None):
        """Of layers without a bias, and the bias of all."""
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.out_features, self.in_features = sum(piece.out_features for piece in pieces), pieces[0].in_features
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[..., in_features] → [..., out_features], float32."""
        out = torch.cat([piece(rows) for piece in self.pieces], -1)
        return out if self.bias is None else out.add_(self.bias)


class LinearStack:
    """The linear layers that stand in the same place in several decoder layers; sizes are multiples of 16."""

    def __init__(self, target: Target, layers: Sequence[PackedLinear | LinearsBeside]):
        """Layers of the same formats and sizes, which the caller keeps."""
        self._target = target
        self._pieces = []
        for pieces in zip(*(_pieces_of(layer) for layer in layers), strict=True):
            parts = [addresses(tensors) for tensors in zip(*(piece.packed.parts for piece in pieces), strict=True)]
            self._pieces.append((pieces[0].format, (pieces[0].out_features, pieces[0].in_features), parts))
        self._biases = addresses(layer.bias for layer in layers if layer.bias is not None)

    def calls(self, rows: torch.Tensor, out: torch.Tensor) -> list[Call]:
        """The calls of kernels that put the product of ``rows`` [rows, in] into ``out`` [rows, out], layer by layer."""
        calls, begin = [], 0
        for format, sizes, parts in self._pieces:
            calls += format.calls(rows, sizes, parts, out[:, begin : begin + sizes[0]])
            begin += sizes[0]
        return [*calls, add_bias(self._target, out, self._biases)] if len(self._biases) else calls


def _pieces_of(layer: PackedLinear | LinearsBeside) -> list[Any]:
    return list(layer.pieces) if isinstance(layer, LinearsBeside) else [layer]


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


def _layer_of(format: WeightFormat, weight: torch.Tensor) -> PackedLinear:
    return PackedLinear(format, format.pack(weight), None)


class LinearPacker:
    """Packs a model's linear layers: in the format that is asked for, or as their blocks are stored."""

    def __init__(self, model: nn.Module, quantization: str, source: WeightSource, target: Target, activation_bits: Bits = 8):
        self.target, self._bits = target, activation_bits
        self._format, self._asked = weight_format(quantization, target, activation_bits), quantization != "none"
        self._source = source
        self._blocks = source.block_formats()
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()  # a layer that was packed is let go
        self._names.update({module: name for name, module in model.named_modules() if type(module) is nn.Linear})

    def fit_together(self, layers: Sequence[nn.Linear]) -> bool:
        """Whether layers that read the same rows can be packed as one."""
        formats = {(self.format_of(layer).name, layer.in_features, layer.bias is None) for layer in layers}
        joins_at = self.format_of(layers[0]).joins_at
        return len(formats) == 1 and all(layer.out_features % joins_at == 0 for layer in layers[:-1])

    def fit_beside(self, layers: Sequence[nn.Linear]) -> bool:
        """Whether layers that read the same rows can be computed as one, whatever each is packed in."""
        kinds = {(layer.in_features, layer.bias is None) for layer in layers}
        return len(kinds) == 1 and all(layer.out_features % LANES == 0 for layer in layers)

    def pack_beside(self, *layers: nn.Linear) -> PackedLinear | LinearsBeside:
        """One layer in place of several that fit beside each other."""
        if self.fit_together(layers):
            return self.pack(*layers)
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        pieces = []
        for layer in layers:
            format = self.format_of(layer)
            pieces.append(PackedLinear(format, format.pack(self._weight(layer)), None))
        return LinearsBeside(pieces, torch.cat(biases) if biases else None)

    def pack(self, *layers: nn.Linear) -> PackedLinear:
        """One PackedLinear in place of a layer, or of several that fit together."""
        format = self.format_of(layers[0])
        packed = [self._packed(format, layer) for layer in layers]
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        bias = torch.cat(biases) if biases else None
        return PackedLinear(format, packed[0] if len(packed) == 1 else format.join(packed), bias)

    def pack_matrices(self, model: nn.Module) -> None:
        """What is left of a model's weights, layers that torch knows and tables apart. What chooses experts, and all else
        that
        is small, stays float32."""
        exact = weight_format("none", self.target)
        pack_matrices(model, *(partial(_layer_of, format) for format in (self._format, exact)))

    def pack_all(self, model: nn.Module) -> Iterator[PackedLinear]:
        """Replace every nn.Linear in ``model``; gives each that takes their place, for memory to be let go between two.

        Layers that read the same rows become one.
        """
        for parent in list(model.modules()):
            linear = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
            for names in JOINED:
                if all(name in linear for name in names) and self.fit_together([linear[name] for name in names]):
                    layers = [linear.pop(name) for name in names]
                    together = _Together(packed := self.pack(*layers), [layer.out_features for layer in layers])
                    for index, name in enumerate(names):
                        setattr(parent, name, JoinedLinear(together, index))
                    yield packed
            for name, child in linear.items():
                setattr(parent, name, packed := self.pack(child))
                yield packed

    def _blocks_of(self, layer: nn.Linear) -> tuple[str, str | None]:
        """The name of a layer's tensor, and the format whose blocks are stored; None: numbers."""
        name = f"{self._names.get(layer, '')}.weight"
        return name, self._blocks.get(name)

    def format_of(self, layer: nn.Linear) -> WeightFormat:
        """What a layer is packed in: what was asked for, else as it is stored, or what stands for that."""
        _, stored = self._blocks_of(layer)
        if stored is None or self._asked:
            return self._format
        return weight_format(stored if stored in FORMATS else WITHOUT_KERNELS, self.target, self._bits)

    def _packed(self, format: WeightFormat, layer: nn.Linear) -> PackedWeight:
        weight = self._weight(layer)
        try:
            return format.pack(weight)
        except ModelError as error:
            raise ModelError(f"Tensor {self._blocks_of(layer)[0]!r} of the model cannot be used: {error}") from error

    def _weight(self, layer: nn.Linear) -> torch.Tensor:
        name, stored = self._blocks_of(layer)
        if stored is not None and stored == self.format_of(layer).name:
            return self._source.blocks(name)
        if not layer.weight.is_meta:
            return layer.weight.detach()
        if (found := self._source.tensor(name)) is None:
            raise ModelError(f"The model's files have no tensor {name!r}. Check them, or download them again.")
        return found
