"""Float format: weights as they are, in panels of outputs; each result is one chain of fused multiply-adds, ascending.

float32, or 16 bits that are made float32 when they are read: a result is that of the same numbers in float32, to the bit.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from foreword.backends.cpu.kernels.compiler import Call, ObjectCache
from foreword.backends.cpu.kernels.float_products import LINEAR, float_kernels, items_of, panel_of
from foreword.backends.cpu.kernels.signature import Argument
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.weight_format import PackedWeight, joined_rows, require_floats
from foreword.errors import ModelError


class FloatFormat:
    """See WeightFormat. The part: panels [out / p, in, p], the last filled up with zeros; p are the outputs of a panel."""

    def __init__(self, name: str, dtype: torch.dtype, error: float, target: Target):
        """``name`` is that of the format's file; weights are kept in ``dtype``."""
        self.name, self.error = name, error
        self.bits = 8.0 * dtype.itemsize
        self._dtype, self._target = dtype, target
        self._panel = panel_of(target)

    @property
    def joins_at(self) -> int:
        """See WeightFormat."""
        return self._panel

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """See WeightFormat. Stored blocks are numbers of this kind, two or four bytes each."""
        kept = weight.contiguous().view(self._dtype) if weight.dtype == torch.uint8 else weight
        require_floats(self.name, kept)
        kept = kept.to(self._dtype)
        if kept.dtype != weight.dtype and not bool(kept.isfinite().all()):
            raise ModelError(f"{int((~kept.isfinite()).sum())} weights are no numbers (NaN or inf) in {self.name}.")
        out_features, in_features = kept.shape
        panels = -(-out_features // self._panel)
        padded = functional.pad(kept, (0, 0, 0, panels * self._panel - out_features))
        packed = padded.reshape(panels, self._panel, in_features).transpose(1, 2).contiguous()
        return PackedWeight(out_features, in_features, (packed,))

    def join(self, parts: Sequence[PackedWeight]) -> PackedWeight:
        """See WeightFormat."""
        return joined_rows(parts)

    def rows(self, packed: PackedWeight, outputs: torch.Tensor) -> torch.Tensor:
        """See WeightFormat."""
        return packed.parts[0][outputs // self._panel, :, outputs % self._panel].float()

    def compile(self, objects: ObjectCache | None = None) -> None:
        """See WeightFormat."""
        float_kernels.compile(self._target, self._dtype, objects=objects)

    def calls(self, rows: torch.Tensor, sizes: tuple[int, int], parts: Sequence[Argument], out: torch.Tensor) -> list[Call]:
        """See WeightFormat."""
        out_features, in_features = sizes
        panels = -(-out_features // self._panel)
        product = float_kernels(self._target, self._dtype)[LINEAR].call(
            items=items_of(panels),
            panels=panels,
            rows=rows,
            count=len(rows),
            depth=in_features,
            packed=parts[0],
            out=out,
            width=out.stride(0),
        )
        return [product]
