"""Weights that modelling code multiplies by itself, packed: those of experts, of routers, of GPT-2's layers.

A layer of transformers that is no nn.Linear holds its weight as a parameter, one matrix or a stack of them, and calls
torch's products with it. What stands here in a parameter's place answers these calls with a packed layer, whose result for a
row does not depend on the other rows. Anything else that is asked of it is asked of the numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Pack = Callable[[torch.Tensor], nn.Module]
"""Makes a layer without a bias of its weight [out, in]."""
TIMES = frozenset({torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm})
STACKS = frozenset({*TIMES, torch.bmm, torch.Tensor.bmm})
CONVERSIONS = ("float", "to", "type", "type_as", "contiguous", "detach")
"""Which change nothing in float32 weights on this processor."""


class _Weight:
    """What a matrix and a stack have in common: how they look, and that torch asks them."""

    dtype, device, requires_grad = torch.float32, torch.device("cpu"), False

    def __init__(self, shape: torch.Size):
        self.shape = shape
        self.ndim = len(shape)

    def __getattr__(self, name: str) -> Any:
        if name in CONVERSIONS:
            return lambda *_, **__: self
        return getattr(self.numbers(), name)

    def __len__(self) -> int:
        return self.shape[0]

    def size(self, dim: int | None = None) -> Any:
        """As a tensor's."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """As a tensor's."""
        return self.ndim

    def numbers(self) -> torch.Tensor:
        """The weight as a plain tensor. NotImplementedError where only the packed one is left."""
        raise NotImplementedError

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Torch's: ``func`` was called with a weight among its arguments."""
        options = dict(kwargs or {})
        if func is functional.linear:
            given = [*args, *(options.get(name) for name in ("input", "weight", "bias")[len(args) :])]
            rows, weight, bias = given[0], given[1], given[2]
            if isinstance(weight, PackedMatrix):
                return _biased(weight.layer(turned=False)(rows), bias)
        elif func is torch.addmm and isinstance(args[2], PackedMatrix) and not options:
            return _biased(args[2].layer(turned=True)(args[1]), args[0])
        elif func in TIMES and isinstance(args[1], PackedMatrix):
            return args[1].layer(turned=True)(args[0])
        elif func in STACKS and isinstance(args[1], PackedStack) and args[0].ndim == args[1].ndim:
            return torch.stack([layer(rows) for layer, rows in zip(args[1].layers(turned=True), args[0], strict=True)])
        plain = [each.numbers() if isinstance(each, _Weight) else each for each in args]
        return func(*plain, **{k: each.numbers() if isinstance(each, _Weight) else each for k, each in options.items()})


class PackedMatrix(_Weight):
    """One matrix; ``turned``: its transpose is the weight of a layer."""

    def __init__(self, weight: torch.Tensor, pack: Pack):
        super().__init__(weight.shape)
        self._weight, self._pack = weight, pack
        self._layers: dict[bool, nn.Module] = {}

    def layer(self, turned: bool) -> nn.Module:
        """As a layer whose weight is this matrix [out, in], or where it is ``turned`` [in, out]."""
        if turned not in self._layers:
            self._layers[turned] = self._pack(self._weight.t() if turned else self._weight)
        return self._layers[turned]

    def numbers(self) -> torch.Tensor:
        """The matrix."""
        return self._weight

    def t(self) -> "PackedMatrix":
        """Its transpose."""
        return _Turned(self)

    @property
    def T(self) -> "PackedMatrix":
        """Its transpose."""
        return self.t()

    def __getitem__(self, place: Any) -> torch.Tensor:
        return self.numbers()[place]


class PackedStack(_Weight):
    """A stack of matrices, of an expert each. They are packed together when the first of them is needed, and the numbers let
    go: few are in memory twice."""

    def __init__(self, weight: torch.Tensor, pack: Pack):
        super().__init__(weight.shape)
        self._weight: torch.Tensor | None = weight
        self._pack = pack
        self._layers: dict[bool, Sequence[nn.Module]] = {}

    def layers(self, turned: bool) -> Sequence[nn.Module]:
        """As layers; see PackedMatrix.layer."""
        if turned not in self._layers:
            numbers = self.numbers()
            self._layers[turned] = [self._pack(each.t() if turned else each) for each in numbers]
            self._weight = None
        return self._layers[turned]

    def numbers(self) -> torch.Tensor:
        """The stack, as long as it is not packed."""
        if self._weight is None:
            raise NotImplementedError("The weights of experts are used in two ways.")
        return self._weight

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, int) or (isinstance(place, torch.Tensor) and place.ndim == 0):
            return _Member(self, int(place))
        return self.numbers()[place]


class _Member(PackedMatrix):
    """A matrix of a stack."""

    def __init__(self, stack: PackedStack, index: int):
        _Weight.__init__(self, stack.shape[1:])
        self._stack, self._index = stack, index

    def layer(self, turned: bool) -> nn.Module:
        """See PackedMatrix."""
        return self._stack.layers(turned)[self._index]

    def numbers(self) -> torch.Tensor:
        """See PackedMatrix."""
        return self._stack.numbers()[self._index]


class _Turned(PackedMatrix):
    """The transpose of a matrix."""

    def __init__(self, matrix: PackedMatrix):
        _Weight.__init__(self, torch.Size(reversed(matrix.shape)))
        self._matrix = matrix

    def layer(self, turned: bool) -> nn.Module:
        """See PackedMatrix."""
        return self._matrix.layer(not turned)

    def numbers(self) -> torch.Tensor:
        """See PackedMatrix."""
        return self._matrix.numbers().t()

    def t(self) -> "PackedMatrix":
        """The matrix."""
        return self._matrix


def pack_matrices(model: nn.Module, pack: Pack, pack_exactly: Pack) -> None:
    """Put these in place of all parameters that are matrices, or stacks of them, and no layer's that is known to torch.

    ``pack`` is for weights that are most of a model, ``pack_exactly`` for those that choose experts.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.Conv1d | nn.Conv2d) or type(module) is nn.Linear:
            continue
        conv = type(module).__name__ == "Conv1D"  # GPT-2's, a linear layer by another name
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta or parameter.ndim not in (2, 3) or parameter.dtype != torch.float32:
                continue
            weight = parameter.detach()
            made = PackedStack(weight, pack) if weight.ndim == 3 else PackedMatrix(weight, pack if conv else pack_exactly)
            delattr(module, name)
            module.__dict__[name] = made


def _biased(rows: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return rows if bias is None else rows + bias
