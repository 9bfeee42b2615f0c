"""Weight format: how a linear layer's weights lie in memory, and the kernels of their product. One file a format.

A product's result for a row must not depend on the other rows or on the number of threads: every number is summed in one
order, or is a sum of whole numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from foreword.backends.cpu.kernels.compiler import Call, ObjectCache
from foreword.backends.cpu.kernels.signature import Argument
from foreword.errors import ModelError


@dataclass(frozen=True)
class PackedWeight:
    """The weights of one linear layer; ``parts`` are what the format's kernels ask for, in its own order."""

    out_features: int
    in_features: int
    parts: tuple[torch.Tensor, ...]


class WeightFormat(Protocol):
    """A format. Stateless."""

    @property
    def name(self) -> str:
        """As the option ``quantization`` and stored tensors call it; that of its file."""
        ...

    @property
    def bits(self) -> float:
        """That a weight takes; a share of scales that does not grow with the layer is not counted."""
        ...

    @property
    def error(self) -> float:
        """Largest difference of a product of normal random numbers from the exact one, as a share of its largest number."""
        ...

    @property
    def joins_at(self) -> int:
        """Layers can be joined behind a number of outputs that is a multiple of this."""
        ...

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """Weights [out, in] in floats of any kind; or, where files store this format, its blocks: uint8 [out, bytes of a
        row]. ModelError for what it cannot take in."""
        ...

    def join(self, parts: Sequence[PackedWeight]) -> PackedWeight:
        """One layer in place of several that read the same rows: their outputs, one layer's behind another's."""
        ...

    def rows(self, packed: PackedWeight, outputs: torch.Tensor) -> torch.Tensor:
        """The weights of some outputs, as they are: ``outputs`` [n], int64 → float32 [n, in]. So an embedding is read."""
        ...

    def compile(self, objects: ObjectCache | None = None) -> None:
        """Its kernels, ahead of the first call. They are compiled once in a process, and not even once where ``objects`` has
        kept them from an earlier run."""
        ...

    def calls(self, rows: torch.Tensor, sizes: tuple[int, int], parts: Sequence[Argument], out: torch.Tensor) -> list[Call]:
        """The calls of kernels that put the product of ``rows``, float32 [rows, in_features], into ``out``.

        ``sizes`` are out_features and in_features; ``parts`` are those of a PackedWeight, or their addresses in each of
        several layers. ``out`` is float32 [rows, width], width being out_features to the next multiple of ``joins_at``; or
        so many columns of a wider tensor.
        """
        ...


def joined_rows(parts: Sequence[PackedWeight]) -> PackedWeight:
    """``join`` of a format whose tensors begin with the outputs, in whole groups of ``joins_at``."""
    columns = zip(*(part.parts for part in parts), strict=True)
    return PackedWeight(
        sum(part.out_features for part in parts), parts[0].in_features, tuple(torch.cat(column) for column in columns)
    )


def require_floats(name: str, weight: torch.Tensor) -> None:
    """ModelError unless a format that is made from floats alone is given floats."""
    if not weight.is_floating_point():
        raise ModelError(f"Weights of dtype {weight.dtype} cannot be packed as {name}: it is made from floats.")
