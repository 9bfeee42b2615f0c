"""Block format: weights in blocks of 32 inputs with scales of their own, whatever their bits; what all such formats share.

A format says how its stored blocks are taken apart, and how floats become blocks. Rows are brought to whole numbers of 8 or
16 bits, with a scale for each 32; the products are kernels/block_products.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from foreword.backends.cpu.kernels.block_products import (
    LINEAR,
    NESTED,
    NESTED_LINEAR,
    STEP,
    STEPS,
    BlockLayout,
    block_kernels,
)
from foreword.backends.cpu.kernels.compiler import Call, ObjectCache
from foreword.backends.cpu.kernels.dots import Bits, zero_of
from foreword.backends.cpu.kernels.signature import Argument
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.tiles import PANEL, items_of, panels_of
from foreword.backends.cpu.kernels.whole_rows import BLOCK, block_row_kernels, block_rows
from foreword.backends.cpu.weight_format import PackedWeight, joined_rows
from foreword.errors import ModelError

PACKED_AT_ONCE = 2**22
"""Weights; what packing needs of memory beside the weights is a few times this."""


@dataclass(frozen=True)
class Blocks:
    """Weights taken apart: ``rows`` outputs of ``blocks`` blocks each.

    codes
        uint8 (int8 where they are signed) [rows, 32 · blocks].
    steps
        float16 [rows, blocks or blocks / 8, terms]: scale, and minimum, which is added.
    factors
        Where scales are nested: uint8, or int8 without minima, [rows, blocks, terms]; else None.
    """

    codes: torch.Tensor
    steps: torch.Tensor
    factors: torch.Tensor | None = None


@dataclass(frozen=True)
class BlockKind:
    """What tells a format from the others.

    name
        That of its file.
    layout
        In memory.
    stored_weights, stored_bytes
        Of a block in files.
    error
        See WeightFormat.
    read
        Stored blocks, uint8 [rows, stored blocks, stored_bytes], taken apart.
    made
        Floats [rows, in], ``in`` a multiple of stored_weights, brought to blocks.
    """

    name: str
    layout: BlockLayout
    stored_weights: int
    stored_bytes: int
    error: float
    read: Callable[[torch.Tensor], Blocks]
    made: Callable[[torch.Tensor], Blocks]


class BlockFormat:
    """See WeightFormat. Parts: codes in panels of 16 outputs (see kernels/block_products.py), float16 steps, and factors
    where scales are nested; each begins with the panels. Inputs are filled up to whole blocks with weights of zero."""

    def __init__(self, kind: BlockKind, target: Target, activation_bits: Bits):
        self.name, self.error = kind.name, kind.error
        self._kind, self._target, self._row_bits = kind, target, activation_bits
        self._layout = kind.layout
        self._zero = zero_of(target, kind.layout.codes, kind.layout.zero, activation_bits)
        self._terms = 1 if kind.layout.minima else kind.layout.groups

    @property
    def bits(self) -> float:
        """See WeightFormat."""
        layout = self._layout
        steps = 16 * layout.step_terms / (BLOCK * NESTED if layout.nested else BLOCK)
        return sum(layout.planes) + steps + (8 * layout.factor_terms / BLOCK if layout.nested else 0)

    @property
    def joins_at(self) -> int:
        """See WeightFormat."""
        return PANEL

    def pack(self, weight: torch.Tensor) -> PackedWeight:
        """See WeightFormat."""
        kind = self._kind
        if weight.dtype == torch.uint8:
            if weight.shape[1] % kind.stored_bytes:
                raise ModelError(f"Rows of {weight.shape[1]} bytes cannot be {self.name}: a block has {kind.stored_bytes}.")
            inside = weight.shape[1] // kind.stored_bytes * kind.stored_weights
        elif weight.is_floating_point():
            inside = weight.shape[1]
        else:
            raise ModelError(f"Weights of dtype {weight.dtype} cannot be packed as {self.name}: it is made from floats.")
        pieces = [self._packed(blocks) for blocks in self._apart(weight)]
        parts = tuple(torch.cat(column) if len(column) > 1 else column[0] for column in zip(*pieces, strict=True))
        return PackedWeight(len(weight), inside, parts)

    def join(self, parts: Sequence[PackedWeight]) -> PackedWeight:
        """See WeightFormat."""
        return joined_rows(parts)

    def rows(self, packed: PackedWeight, outputs: torch.Tensor) -> torch.Tensor:
        """See WeightFormat."""
        panels, lanes = outputs // PANEL, outputs % PANEL
        codes, steps, *factors = packed.parts
        count, blocks = len(outputs), codes.shape[1]
        chosen = codes.view(len(codes), blocks, -1, PANEL, STEP)[panels, :, :, lanes]
        whole = _joined_planes(chosen, self._layout.planes)
        whole = whole.view(torch.int8) if self._layout.codes.signed else whole
        numbers = whole.view(count, blocks, self._layout.groups, -1).float() - self._layout.zero
        each = [part[panels, :, :, lanes].float() for part in (steps, *factors)]
        scales, minima = self._scales(each[0], each[1:])
        numbers = numbers * scales[..., None]
        if minima is not None:
            numbers = numbers + minima[..., None, None]
        return numbers.reshape(count, -1)[:, : packed.in_features]

    def compile(self, objects: ObjectCache | None = None) -> None:
        """See WeightFormat."""
        block_kernels(self._layout).compile(self._target, self._layout, self._row_bits, objects=objects)
        block_row_kernels.compile(self._target, self._terms, self._zero != 0, self._row_bits, objects=objects)

    def calls(self, rows: torch.Tensor, sizes: tuple[int, int], parts: Sequence[Argument], out: torch.Tensor) -> list[Call]:
        """See WeightFormat. The rows as whole numbers, then the product."""
        out_features, in_features = sizes
        panels, blocks = panels_of(out_features), self._blocks(in_features)
        whole = block_rows(self._target, rows, blocks, self._zero, self._terms, self._row_bits)
        signature = NESTED_LINEAR if self._layout.nested else LINEAR
        codes, steps, *factors = parts
        nested = {"factors": factors[0]} if self._layout.nested else {}
        product = block_kernels(self._layout)(self._target, self._layout, self._row_bits)[signature].call(
            items=items_of(panels, len(rows), torch.get_num_threads()),
            panels=panels,
            count=len(rows),
            blocks=blocks,
            whole=whole.whole,
            row_scales=whole.scales,
            row_terms=whole.terms,
            codes=codes,
            steps=steps,
            out=out,
            width=out.stride(0),
            **nested,
        )
        return [whole.call, product]

    def _blocks(self, in_features: int) -> int:
        stored = -(-in_features // self._kind.stored_weights)
        return stored * self._kind.stored_weights // BLOCK

    def _apart(self, weight: torch.Tensor) -> Iterator[Blocks]:
        """Some outputs after others, taken apart; ModelError where a scale is no number."""
        kind, stored = self._kind, weight.dtype == torch.uint8
        inside = self._blocks(weight.shape[1]) * BLOCK
        group = max(1, PACKED_AT_ONCE // max(inside, 1) // PANEL) * PANEL
        for piece in torch.split(weight, group):
            if stored:
                blocks = kind.read(piece.reshape(len(piece), -1, kind.stored_bytes))
            else:
                blocks = kind.made(torch.nn.functional.pad(piece.float(), (0, inside - piece.shape[1])))
            if not bool(blocks.steps.isfinite().all()):
                count = int((~blocks.steps.isfinite()).sum())
                raise ModelError(f"{count} scales of blocks are no numbers (NaN or inf), or too large for {self.name}.")
            yield blocks

    def _packed(self, blocks: Blocks) -> tuple[torch.Tensor, ...]:
        """Panels of some outputs, the last filled up with zeros."""
        count, inside = blocks.codes.shape
        panels = panels_of(count)

        def filled(part: torch.Tensor) -> torch.Tensor:
            missing = panels * PANEL - count
            return part if not missing else torch.cat([part, part.new_zeros(missing, *part.shape[1:])])

        codes = filled(blocks.codes).view(torch.uint8).view(panels, PANEL, inside // BLOCK, STEPS, STEP).view(torch.int32)
        vectors = codes.permute(0, 2, 3, 1, 4).contiguous().view(torch.uint8).view(panels, inside // BLOCK, STEPS, -1)
        found = [_planes(vectors, self._layout.planes)]
        for part in (blocks.steps, blocks.factors):
            if part is not None:
                found.append(filled(part).view(panels, PANEL, *part.shape[1:]).permute(0, 2, 3, 1).contiguous())
        return tuple(found)

    def _scales(self, steps: torch.Tensor, factors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of outputs: scales [outputs, blocks, groups] and minima [outputs, blocks]."""
        layout = self._layout
        if layout.nested:
            each = steps.repeat_interleave(NESTED, 1)
            scales = each[..., :1] * factors[0][..., : layout.groups]
            return scales, each[..., 1] * factors[0][..., -1] if layout.minima else None
        return steps[..., :1], steps[..., 1] if layout.minima else None


def _planes(vectors: torch.Tensor, planes: tuple[int, ...]) -> torch.Tensor:
    """Codes [panels, blocks, 8, 64] → planes [panels, blocks, vectors, 64]."""
    if planes == (8,):
        return vectors
    found, below = [], 0
    for bits in planes:
        field = (vectors >> below) & (2**bits - 1)
        folded = field.view(*vectors.shape[:2], 8 // bits, bits, -1)
        plane = folded[:, :, 0].clone()
        for place in range(1, 8 // bits):
            plane |= folded[:, :, place] << (place * bits)
        found.append(plane)
        below += bits
    return torch.cat(found, 2) if len(found) > 1 else found[0]


def _joined_planes(vectors: torch.Tensor, planes: tuple[int, ...]) -> torch.Tensor:
    """What ``_planes`` gave, of outputs: [outputs, blocks, vectors, 4] → codes [outputs, blocks, 32]."""
    codes, before, below = torch.zeros((), dtype=torch.uint8), 0, 0
    for bits in planes:
        plane = vectors[:, :, before : before + bits]
        field = torch.cat([(plane >> place) & (2**bits - 1) for place in range(0, 8, bits)], 2) if bits < 8 else plane
        codes = codes | (field << below)
        before, below = before + bits, below + bits
    return codes.flatten(2)
