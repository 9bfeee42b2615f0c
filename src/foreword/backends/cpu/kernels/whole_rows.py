"""Rows in whole numbers of 8 or 16 bits: a scale for each 32 numbers of a row, or one for the row. What quantised weights
are multiplied with.

A scale comes from a row's own numbers, never from the batch's. What is not a number makes its scale none.
"""

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Call, kernel_module
from foreword.backends.cpu.kernels.dots import INT8, INT16, LARGEST, Bits
from foreword.backends.cpu.kernels.ir_builder import (
    FLOAT,
    INT32,
    INT64,
    INT_VECTOR,
    LANES,
    POINTER,
    VECTOR,
    Builder,
    int64,
    vector,
)
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.wide_dots import ORDER, STEP

WHOLE = {8: INT8, 16: INT16}
DTYPES = {8: torch.int8, 16: torch.int16}
FINER = (2**15 - 1) // LARGEST
"""Steps of 16 bits in one of 8."""
HELD = 2**31 - 1
"""The largest sum."""
BLOCK = 32
"""Numbers with one scale."""
HALVES = (0, LANES)
ROUND = 12582912.0
"""Added and taken away, it rounds what is small to whole numbers."""

QUANTIZE_BLOCKS = Signature(
    "quantize_blocks",
    size="int",
    blocks="int",
    zero="int",
    largest="float",
    rows="pointer",
    whole="pointer",
    scales="pointer",
    terms="pointer",
)
"""Rows [items, size] → whole numbers up to ``largest`` [items, blocks, 32], scales [items, blocks] and terms (see
``block_rows``)."""
QUANTIZE_ROWS = Signature(
    "quantize_rows",
    size="int",
    padded="int",
    zero="int",
    largest="float",
    rows="pointer",
    whole="pointer",
    scales="pointer",
    starts="pointer",
)
"""Rows [items, size] → whole numbers up to ``largest`` [items, padded], scales [items], starts [items] of int32: -zero times
the sum."""


class WholeRows:
    """Rows in whole numbers, and the call that makes them: ``whole`` in int8 or int16, float32 ``scales``, ``terms`` of 32
    bits."""

    def __init__(self, call: Call, whole: torch.Tensor, scales: torch.Tensor, terms: torch.Tensor):
        self.call = call
        self.whole, self.scales, self.terms = whole, scales, terms


def block_rows(target: Target, rows: torch.Tensor, blocks: int, zero: int, terms: int, bits: Bits) -> WholeRows:
    """Of float32 [count, size], filled up with zeros to ``blocks`` of 32. Of 16 bits each four numbers lie in ORDER.

    Terms of a block are int32, -zero times the sum of each half (``terms`` 2) or of all its whole numbers (1); or, without a
    zero, float32 [count, blocks]: the scale times that sum.
    """
    count, size = rows.shape
    whole = rows.new_empty((count, blocks * BLOCK), dtype=DTYPES[bits])
    scales, places = rows.new_empty(count, blocks), rows.new_empty(count, blocks * terms)
    call = block_row_kernels(target, terms, zero != 0, bits)[QUANTIZE_BLOCKS].call(
        items=count,
        size=size,
        blocks=blocks,
        zero=zero,
        largest=float(LARGEST * (FINER if bits == 16 else 1)),
        rows=rows,
        whole=whole,
        scales=scales,
        terms=places,
    )
    return WholeRows(call, whole, scales, places)


def plain_rows(target: Target, rows: torch.Tensor, padded: int, zero: int, bits: Bits) -> WholeRows:
    """Of float32 [count, size] with one scale a row, filled up with zeros to ``padded``; terms are -zero times the sum. Of
    16 bits they are as fine as sums with weights of 8 bits can hold, and each four lie in ORDER."""
    count, size = rows.shape
    whole = rows.new_empty((count, padded), dtype=DTYPES[bits])
    scales, starts = rows.new_empty(count), rows.new_empty(count, dtype=torch.int32)
    finer = min(FINER, HELD // (LARGEST * LARGEST * size)) if bits == 16 else 1
    call = plain_row_kernels(target, bits)[QUANTIZE_ROWS].call(
        items=count,
        size=size,
        padded=padded,
        zero=zero,
        largest=float(LARGEST * max(1, finer)),
        rows=rows,
        whole=whole,
        scales=scales,
        starts=starts,
    )
    return WholeRows(call, whole, scales, starts)


@kernel_module(QUANTIZE_BLOCKS)
def block_row_kernels(module: ir.Module, _: Target, terms: int, has_zero: bool, bits: Bits) -> None:
    """An item is a row; a block that it does not fill is brought into memory of its own first."""
    with QUANTIZE_BLOCKS.define(module) as (b, f):
        last = b.inttoptr(b.ptrtoint(b.alloca(VECTOR, 2), INT64), POINTER)
        full = b.sdiv(f.size, int64(BLOCK))
        zero = b.trunc(b.neg(f.zero), INT32)
        whole, scales, places, largest = f.whole, f.scales, f.terms, f.largest

        def row(item: ir.Value) -> None:
            source, first = b.offset(f.rows, b.mul(item, f.size)), b.mul(item, f.blocks)

            def block(numbers: list[ir.Value], at: ir.Value) -> None:
                place = b.add(first, at)
                scale, inverse = _scale_of(b, numbers, largest)
                b.store(scale, scales, place)
                sums = []
                for half, part in zip(HALVES, numbers, strict=True):
                    steps = rounded(b, b.fmul(part, b.splat(inverse)))
                    b.store(_kept(b, steps, bits), whole, b.add(b.mul(place, int64(BLOCK)), int64(half)))
                    sums.append(b.reduce(steps, b.add))
                sums = sums if terms == 2 else [b.add(*sums)]
                for index, total in enumerate(sums):
                    term = b.mul(total, zero) if has_zero else b.fmul(scale, b.sitofp(total, FLOAT))
                    b.store(term, places, b.add(b.mul(place, int64(terms)), int64(index)))

            b.loop(int64(0), full, 1, lambda at, _: block(_two(b, b.offset(source, b.mul(at, int64(BLOCK)))), at))

            def partly(at: ir.Value, _: object) -> None:
                for half in HALVES:
                    b.store(vector(0.0), last, int64(half))
                begin = b.mul(at, int64(BLOCK))
                b.loop(begin, f.size, 1, lambda k, _: b.store(b.load(source, k), last, b.sub(k, begin)))
                block(_two(b, last), at)

            b.loop(full, f.blocks, 1, partly)

        b.parallel_for(f.taken, f.items, row)


@kernel_module(QUANTIZE_ROWS)
def plain_row_kernels(module: ir.Module, _: Target, bits: Bits) -> None:
    """An item is a row."""
    with QUANTIZE_ROWS.define(module) as (b, f):
        whole, scales, starts, largest = f.whole, f.scales, f.starts, f.largest
        even = b.and_(f.size, int64(-LANES))
        zero = b.trunc(b.neg(f.zero), INT32)

        def row(item: ir.Value) -> None:
            source, target = b.offset(f.rows, b.mul(item, f.size)), b.offset(whole, b.mul(item, f.padded), WHOLE[bits])

            step, scale = row_scale(b, source, f.size, largest)
            b.store(scale, scales, item)
            inverse = b.splat(b.fdiv(ir.Constant(FLOAT, 1.0), step))

            def sixteen(at: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
                steps = rounded(b, b.fmul(b.load_vector(source, at), inverse))
                b.store(_kept(b, steps, bits), target, at)
                return [b.add(so_far[0], steps)]

            def one(at: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
                steps = rounded(b, b.fmul(b.splat(b.load(source, at)), inverse))
                number = b.extract_element(steps, ir.Constant(INT32, 0))
                b.store(b.trunc(number, WHOLE[bits]), target, _place(b, at, bits))
                return [b.add(so_far[0], number)]

            none = ir.Constant(INT_VECTOR, [0] * LANES)
            many = b.reduce(b.loop(int64(0), even, LANES, sixteen, [none])[0], b.add)
            total = b.loop(even, f.size, 1, one, [many])[0]
            b.loop(f.size, f.padded, 1, lambda at, _: b.store(ir.Constant(WHOLE[bits], 0), target, _place(b, at, bits)))
            b.store(b.mul(total, zero), starts, item)

        b.parallel_for(f.taken, f.items, row)


def _two(b: Builder, pointer: ir.Value) -> list[ir.Value]:
    """The numbers of a block."""
    return [b.load_vector(pointer, int64(half)) for half in HALVES]


def _absolute(b: Builder, numbers: ir.Value) -> ir.Value:
    return b.call(b.intrinsic("llvm.fabs.v16f32", VECTOR, [VECTOR]), [numbers])


def _kept(b: Builder, steps: ir.Value, bits: Bits) -> ir.Value:
    """Sixteen whole numbers as they are kept."""
    if bits == 16:
        steps = b.shuffle(steps, steps, [at - at % STEP + ORDER[at % STEP] for at in range(LANES)])
    return b.trunc(steps, ir.VectorType(WHOLE[bits], LANES))


def _place(b: Builder, at: ir.Value, bits: Bits) -> ir.Value:
    """Where a number is kept: in ORDER the second and third of four change places."""
    if bits == 8:
        return at
    low, high = (b.and_(at, int64(bit)) for bit in (1, 2))
    return b.or_(b.and_(at, int64(-STEP)), b.or_(b.shl(low, int64(1)), b.lshr(high, int64(1))))


def row_scale(b: Builder, source: ir.Value, size: ir.Value, parts: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Of ``size`` numbers: one in so many parts of their largest, and the same as a scale, none where one of them is
    none."""

    def widen(numbers: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
        return [b.maximum(_absolute(b, numbers), so_far[0]), b.fma(numbers, vector(0.0), so_far[1])]

    even, seen = b.and_(size, int64(-LANES)), [vector(0.0), vector(0.0)]
    seen = b.loop(int64(0), even, LANES, lambda at, s: widen(b.load_vector(source, at), s), seen)
    seen = b.loop(even, size, 1, lambda at, s: widen(b.splat(b.load(source, at)), s), seen)
    step = _step(b, b.reduce(seen[0], b.maximum), parts)
    return step, b.fadd(step, b.reduce(seen[1], b.fadd))


def _step(b: Builder, largest: ir.Value, parts: ir.Value) -> ir.Value:
    return b.fdiv(b.maximum(largest, ir.Constant(FLOAT, 1e-30)), parts)


def _scale_of(b: Builder, numbers: list[ir.Value], parts: ir.Value) -> tuple[ir.Value, ir.Value]:
    """A block's scale, none where one of its numbers is none, and what they are multiplied with to be whole."""
    largest = b.reduce(b.maximum(*(_absolute(b, part) for part in numbers)), b.maximum)
    broken = b.fma(numbers[1], vector(0.0), b.fmul(numbers[0], vector(0.0)))
    step = _step(b, largest, parts)
    return b.fadd(step, b.reduce(broken, b.fadd)), b.fdiv(ir.Constant(FLOAT, 1.0), step)


def rounded(b: Builder, numbers: ir.Value) -> ir.Value:
    """Whole numbers of 32 bits, the nearest, of two the even one."""
    return b.fptosi(b.fsub(b.fadd(numbers, vector(ROUND)), vector(ROUND)), INT_VECTOR)
