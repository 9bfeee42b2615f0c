"""Torch's elementwise functions, so that a number's bits depend on nothing but the number.

Exponentials and their kin have two implementations: one for whole vectors of numbers, another for what is left at the end of
a tensor, or at the end of the part of it that a thread is given. Here a tensor is filled up until nothing is left anywhere.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

STEP = 64
"""Numbers that the widest implementation takes at a time, or a multiple of that."""
GRAINS = (2048, 16384, 32768)
"""Torch gives a thread no fewer numbers than this; which, depends on the function."""

Function = Callable[..., torch.Tensor]
FUNCTIONS: frozenset[Function] = frozenset(
    {
        torch.nn.functional.silu, torch.nn.functional.gelu, torch.nn.functional.sigmoid, torch.nn.functional.tanh,
        torch.nn.functional.softplus, torch.nn.functional.mish, torch.nn.functional.elu, torch.nn.functional.logsigmoid,
        torch.nn.functional.hardsigmoid,
        torch.sigmoid, torch.Tensor.sigmoid, torch.tanh, torch.Tensor.tanh, torch.exp, torch.Tensor.exp, torch.erf,
        torch.Tensor.erf, torch.log, torch.Tensor.log, torch.log1p, torch.Tensor.log1p, torch.expm1, torch.cos,
        torch.Tensor.cos, torch.sin, torch.Tensor.sin, torch.exp2,
    }
)  # fmt: skip
"""Those that go number by number and are no plain arithmetic."""


def in_whole_vectors(function: Function, numbers: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
    """``function`` of each of ``numbers``, any shape."""
    count, filled = numbers.numel(), filled_up(numbers.numel(), torch.get_num_threads())
    if filled == count and numbers.is_contiguous():
        return function(numbers, *arguments, **options)
    flat = numbers.new_ones(filled)
    flat[:count] = numbers.reshape(-1)
    return function(flat, *arguments, **options)[:count].view(numbers.shape)


def filled_up(count: int, threads: int) -> int:
    """So many numbers, or some more, that whichever part of them a thread is given consists of whole vectors."""
    while True:
        parts = {min(threads, -(-count // grain)) for grain in GRAINS} if count > GRAINS[0] else {1}
        step = STEP * math.lcm(*parts, threads if count > GRAINS[0] else 1)
        filled = -(-count // step) * step
        if filled == count:
            return count
        count = filled


class WholeVectors(TorchFunctionMode):
    """Inside, torch's functions that modelling code calls are computed so."""

    def __torch_function__(
        self, func: Function, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Of torch."""
        options = dict(kwargs or {})
        numbers = args[0] if args else None
        if func not in FUNCTIONS or not isinstance(numbers, torch.Tensor) or not numbers.is_floating_point():
            return func(*args, **options)
        options.pop("inplace", None)  # what is computed is given back either way
        return in_whole_vectors(func, *args, **options)
