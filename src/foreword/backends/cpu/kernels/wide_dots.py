"""Products of weights of 8 bits with a row's whole numbers of 16 bits, added up in pairs: what finer rows are multiplied by.

A vector of codes has the weights of ``target.lanes`` outputs for four inputs, byte by byte. It is taken apart once for all
rows, into the first and third input, and the second and fourth; of a row each of these pairs is one number of 32 bits. Sums
of whole numbers are exact, so all targets give the same.
"""

from collections.abc import Sequence

from llvmlite import ir

from foreword.backends.cpu.kernels.dots import INT8, INT16, Bits, ByteDots, Codes, Dots, Read
from foreword.backends.cpu.kernels.ir_builder import INT32, Builder
from foreword.backends.cpu.kernels.target import Target

STEP = 4
"""Inputs of a vector of codes."""
PAIRS = 2
"""That they are taken apart into."""
ORDER = (0, 2, 1, 3)
"""In which a row's numbers lie, of each four."""
BYTE = 8


class WideDots:
    """See Dots. Rows of 16 bits."""

    words = PAIRS

    def __init__(self, b: Builder, target: Target, codes: Codes):
        self._b = b
        self._target = target
        self._codes = codes
        self.lanes = target.lanes
        self.total = ir.VectorType(INT32, self.lanes)
        self.bytes = ir.VectorType(INT8, STEP * self.lanes)
        self._pairs = ir.VectorType(INT16, PAIRS * self.lanes)

    def of(self, strips: Sequence[Sequence[Read]], rows: Sequence[Sequence[Read]], starts: list[ir.Value]) -> list[ir.Value]:
        """See Dots."""
        b, totals = self._b, list(starts)
        for step in range(len(strips[0])):
            codes = [self._apart(strip[step]()) for strip in strips]
            for row, factors in enumerate(rows):
                for pair in range(PAIRS):
                    factor = b.splat(factors[PAIRS * step + pair](), self.lanes)
                    for strip, code in enumerate(codes):
                        index = strip * len(rows) + row
                        totals[index] = add_pairs(b, self._target, totals[index], code[pair], b.bitcast(factor, self._pairs))
            if len(rows) > 1:
                b.fence("seq_cst", "singlethread")  # no instruction, but what reads memory behind it stays there
        return totals

    def _apart(self, codes: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Lower and upper bytes, each of 16 bits."""
        b, wide = self._b, self._b.bitcast(codes, self._pairs)
        by = ir.Constant(self._pairs, [BYTE] * self._pairs.count)
        if self._codes.signed:
            return b.ashr(b.shl(wide, by), by), b.ashr(wide, by)
        return b.and_(wide, ir.Constant(self._pairs, [2**BYTE - 1] * self._pairs.count)), b.lshr(wide, by)


def add_pairs(b: Builder, target: Target, total: ir.Value, codes: ir.Value, factor: ir.Value) -> ir.Value:
    """To each sum of 32 bits in a vector of ``target.lanes`` the products of two pairs of numbers of 16 bits."""
    if target.dots == "vpdpbusd":
        name = f"llvm.x86.avx512.vpdpwssd.{32 * target.lanes}"  # LLVM knows its older form of it, in 32 bits, as well
        given = [b.bitcast(value, total.type) for value in (codes, factor)]
        return b.call(b.intrinsic(name, total.type, [total.type] * 3), [total, *given])
    if target.dots == "pmaddubsw":
        name = "llvm.x86.avx512.pmaddw.d.512" if target.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
        return b.add(total, b.call(b.intrinsic(name, total.type, [codes.type] * 2), [codes, factor]))
    wide = ir.VectorType(INT32, PAIRS * target.lanes)
    products = b.mul(b.sext(codes, wide), b.sext(factor, wide))
    for first in range(PAIRS):
        total = b.add(total, b.shuffle(products, products, list(range(first, PAIRS * target.lanes, PAIRS))))
    return total


def dots_of(b: Builder, target: Target, codes: Codes, bits: Bits) -> Dots:
    """The products with rows of so many bits."""
    return WideDots(b, target, codes) if bits == 16 else ByteDots(b, target, codes)
