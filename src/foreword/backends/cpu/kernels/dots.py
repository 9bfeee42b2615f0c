"""Products of whole numbers of 8 bits, added up in fours: what products of quantised weights are made of. wide_dots.py has
those for finer rows.

A vector of codes has the weights of ``target.lanes`` outputs for four inputs, byte by byte; a factor is the four numbers of
a row, as one of 32 bits. Sums of whole numbers are exact, so all targets give the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import INT32, Builder
from foreword.backends.cpu.kernels.target import Target

INT8, INT16 = ir.IntType(8), ir.IntType(16)
LARGEST = 127
"""Of a row's whole numbers, whatever their sign."""
Bits = Literal[8, 16]
"""Of a row's whole numbers."""
Read = Callable[[], ir.Value]
"""Reads a value when it is its turn."""


@dataclass(frozen=True)
class Codes:
    """What a weight's whole numbers are: up to ``largest`` and none below 0, or ``signed`` from -128 to 127."""

    largest: int
    signed: bool = False


class Dots(Protocol):
    """The products for one kind of codes, inside a kernel."""

    words: int
    """Numbers of 32 bits that hold a row's numbers for a step of four inputs."""
    total: ir.VectorType
    """Of a sum."""
    bytes: ir.VectorType
    """Of a step's codes."""

    def of(self, strips: Sequence[Sequence[Read]], rows: Sequence[Sequence[Read]], starts: list[ir.Value]) -> list[ir.Value]:
        """For each strip, row by row: its start plus the sums of all steps.

        A strip is a vector of outputs: for each step a function that reads its codes. A row has functions that read its
        factors, ``words`` for each step. Steps stay in this order: a compiler that may move them has more values at hand
        than registers.
        """
        ...


def zero_of(target: Target, codes: Codes, zero: int, bits: Bits) -> int:
    """What a sum has too much of a row's numbers, if the weights' codes have ``zero`` too much: signed codes are made
    unsigned where the instruction for rows of so many bits wants that."""
    return zero + (128 if codes.signed and bits == 8 and target.dots == "vpdpbusd" else 0)


class ByteDots:
    """See Dots. Rows of 8 bits."""

    words = 1

    def __init__(self, b: Builder, target: Target, codes: Codes):
        self._b = b
        self._target = target
        self._codes = codes
        self.lanes = target.lanes
        self.total = ir.VectorType(INT32, self.lanes)
        self.bytes = ir.VectorType(INT8, 4 * self.lanes)
        self._pairs = ir.VectorType(INT16, 2 * self.lanes)
        most = 2 * LARGEST * (128 if codes.signed else codes.largest)
        self._steps_held = (2**15 - 1) // most
        """Pairs of products that can be added up in 16 bits."""

    def of(self, strips: Sequence[Sequence[Read]], rows: Sequence[Sequence[Read]], starts: list[ir.Value]) -> list[ir.Value]:
        """See Dots."""
        b, totals = self._b, list(starts)
        held: list[ir.Value | None] = [None] * len(starts)
        count = len(strips[0])
        for step in range(count):
            codes = [self._prepared(strip[step]()) for strip in strips]
            last = step + 1 == count or (step + 1) % self._steps_held == 0
            for row, factors in enumerate(rows):
                factor = b.bitcast(b.splat(factors[step](), self.lanes), self.bytes)
                for strip, code in enumerate(codes):
                    index = strip * len(rows) + row
                    if self._target.dots == "pmaddubsw":
                        pairs = self._pair_products(code, factor)
                        so_far = held[index]
                        pairs = pairs if so_far is None else b.add(so_far, pairs)
                        held[index] = None if last else pairs
                        totals[index] = b.add(totals[index], self._joined(pairs)) if last else totals[index]
                    else:
                        totals[index] = self._added(totals[index], code, factor)
            if len(rows) > 1:
                b.fence("seq_cst", "singlethread")  # no instruction, but what reads memory behind it stays there
        return totals

    def _prepared(self, codes: ir.Value) -> tuple[ir.Value, ...]:
        """What is made of a vector of codes once for all rows."""
        b = self._b
        if not self._codes.signed or self._target.dots in ("sdot", "plain"):
            return (codes,)
        if self._target.dots == "vpdpbusd":
            return (b.xor(codes, ir.Constant(self.bytes, [-128] * self.bytes.count)),)
        none = ir.Constant(self.bytes, [0] * self.bytes.count)
        negative = b.icmp_signed("<", codes, none)
        return b.select(negative, b.sub(none, codes), codes), codes, negative

    def _pair_products(self, codes: tuple[ir.Value, ...], factor: ir.Value) -> ir.Value:
        """Products of 8 bits, neighbours added: of 16 bits. Of signed codes the row's numbers take the sign."""
        b = self._b
        wide = self.lanes == 16
        if self._codes.signed:
            if wide:
                none = ir.Constant(self.bytes, [0] * self.bytes.count)
                factor = b.select(codes[2], b.sub(none, factor), factor)
            else:
                sign = b.intrinsic("llvm.x86.avx2.psign.b", self.bytes, [self.bytes] * 2)
                factor = b.call(sign, [factor, codes[1]])
        name = "llvm.x86.avx512.pmaddubs.w.512" if wide else "llvm.x86.avx2.pmadd.ub.sw"
        return b.call(b.intrinsic(name, self._pairs, [self.bytes] * 2), [codes[0], factor])

    def _joined(self, pairs: ir.Value) -> ir.Value:
        """Neighbours of 16 bits added: of 32 bits."""
        name = "llvm.x86.avx512.pmaddw.d.512" if self.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
        ones = ir.Constant(self._pairs, [1] * self._pairs.count)
        return self._b.call(self._b.intrinsic(name, self.total, [self._pairs] * 2), [pairs, ones])

    def _added(self, total: ir.Value, codes: tuple[ir.Value, ...], factor: ir.Value) -> ir.Value:
        b = self._b
        if self._target.dots == "vpdpbusd":
            name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"  # LLVM knows its older form of it, in 32 bits, as well
            given = [b.bitcast(value, self.total) for value in (codes[0], factor)]
            return b.call(b.intrinsic(name, self.total, [self.total] * 3), [total, *given])
        if self._target.dots == "sdot":
            name = f"llvm.aarch64.neon.sdot.v{self.lanes}i32.v{4 * self.lanes}i8"
            return b.call(b.intrinsic(name, self.total, [self.total, self.bytes, self.bytes]), [total, codes[0], factor])
        wide = ir.VectorType(INT32, 4 * self.lanes)
        products = b.mul(b.sext(codes[0], wide), b.sext(factor, wide))
        for first in range(4):
            total = b.add(total, b.shuffle(products, products, list(range(first, 4 * self.lanes, 4))))
        return total
