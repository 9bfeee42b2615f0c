"""What stands between the linear layers of a decoder layer: norms, rotary positions, the gated activation and sums.

All go row by row, so a row's bits depend on nothing but the row. A norm's sum of squares is 16 chains, added in one order.
Each function gives a call that is yet to be made; weights may be those of several layers.
"""

import struct
from collections.abc import Callable
from functools import cache

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Argument, Call, Kernels
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, LANES, POINTER, VECTOR, Builder, int64, vector

EIGHT = ir.VectorType(FLOAT, 8)


def rms_norm(rows: torch.Tensor, weight: Argument, eps: float, out: torch.Tensor) -> Call:
    """Each row of float32 [rows, width] by its root mean square, times ``weight`` [width]. Width is a multiple of 16."""
    return _call("norm", rows, eps, rows, weight, out)


def add_rms_norm(rows: torch.Tensor, added: torch.Tensor, weight: Argument, eps: float, out: torch.Tensor) -> Call:
    """``rows += added``, then as ``rms_norm``."""
    return _call("add_norm", rows, eps, rows, weight, out, added)


def rotate(
    rows: torch.Tensor, heads: int, size: int, cos: torch.Tensor, sin: torch.Tensor, norm: Argument | None, eps: float
) -> Call:
    """Turn the first heads of each row by its position, in place; normed before where there is a ``norm``.

    Rows are float32 [rows, width], of which the first ``heads`` · ``size`` numbers are heads; ``cos`` and ``sin`` are
    [rows, size], ``norm`` [heads, size]. Of a head, number i turns with number i + size / 2. Size is a multiple of 16.
    """
    if norm is None:
        return _call("rotate", rows, eps, heads, size, rows, cos, sin)
    return _call("norm_rotate", rows, eps, heads, size, rows, cos, sin, norm)


def gate(rows: torch.Tensor, out: torch.Tensor) -> Call:
    """float32 [rows, 2 · width] → [rows, width]: SiLU of the first half times the second. Width is a multiple of 16."""
    return _call("gate", out, 0.0, rows, out)


def add(rows: torch.Tensor, added: torch.Tensor) -> Call:
    """``rows += added``. Width is a multiple of 16."""
    return _call("add", rows, 0.0, rows, added)


def add_bias(rows: torch.Tensor, bias: Argument) -> Call:
    """Add ``bias`` [width] to each row. Width is a multiple of 16."""
    return _call("add_bias", rows, 0.0, rows, bias)


def _call(name: str, rows: torch.Tensor, eps: float, *values: Argument) -> Call:
    bits = struct.unpack("<i", struct.pack("<f", eps))[0]
    return decoder_kernels().call(name, len(rows), rows.shape[1], bits, *values)


@cache
def decoder_kernels() -> Kernels:
    module = ir.Module("decoder")
    _define_norm(module, "norm", adds=False)
    _define_norm(module, "add_norm", adds=True)
    _define_rotate(module, "rotate", normed=False)
    _define_rotate(module, "norm_rotate", normed=True)
    _define_gate(module)
    _define_sum(module, "add", bias=False)
    _define_sum(module, "add_bias", bias=True)
    return Kernels(module)


class _Function:
    """A function over rows: the counter, how many there are, their width, a small number, then what it asks for."""

    def __init__(self, module: ir.Module, name: str):
        self.b = Builder.of(module, name, [POINTER], internal=False)
        self.data = self.b.function.args[0]
        self.fields = 0
        self.count, self.width = self.size(), self.size()
        self.eps = self.b.bitcast(self.b.trunc(self.size(), INT32), FLOAT)

    def size(self) -> ir.Value:
        self.fields += 1
        return self.b.load(self.data, int64(self.fields), INT64)

    def pointer(self) -> ir.Value:
        return self.b.inttoptr(self.size(), POINTER)

    def over_rows(self, body: Callable[[ir.Value], object]) -> None:
        self.b.parallel_for(self.data, self.count, body)
        self.b.ret_void()


def _inverse_rms(f: _Function, squares: ir.Value, width: ir.Value) -> ir.Value:
    """1 / √(mean of squares + eps), from 16 sums of squares."""
    b = f.b
    mean = b.fdiv(b.reduce(squares, b.fadd), b.sitofp(width, FLOAT))
    root = b.call(b.intrinsic("llvm.sqrt.f32", FLOAT, [FLOAT]), [b.fadd(mean, f.eps)])
    return b.fdiv(ir.Constant(FLOAT, 1.0), root)


def _define_norm(module: ir.Module, name: str, adds: bool) -> None:
    f = _Function(module, name)
    b, rows, weight, out = f.b, f.pointer(), f.pointer(), f.pointer()
    added = f.pointer() if adds else None

    def row(item: ir.Value) -> None:
        begin = b.mul(item, f.width)
        source, target = b.offset(rows, begin), b.offset(out, begin)

        def square(at: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
            numbers = b.load_vector(source, at)
            if added is not None:
                numbers = b.fadd(numbers, b.load_vector(added, b.add(begin, at)))
                b.store(numbers, source, at)
            return [b.fma(numbers, numbers, so_far[0])]

        squares = b.loop(int64(0), f.width, LANES, square, [vector(0.0)])[0]
        factor = b.splat(_inverse_rms(f, squares, f.width))

        def scale(at: ir.Value, _: object) -> None:
            b.store(b.fmul(b.fmul(b.load_vector(source, at), factor), b.load_vector(weight, at)), target, at)

        b.loop(int64(0), f.width, LANES, scale)

    f.over_rows(row)


def _define_rotate(module: ir.Module, name: str, normed: bool) -> None:
    f = _Function(module, name)
    b, heads, size, rows, cos, sin = f.b, f.size(), f.size(), f.pointer(), f.pointer(), f.pointer()
    norm = f.pointer() if normed else None
    half = b.sdiv(size, int64(2))

    def row(item: ir.Value) -> None:
        turn, begin = b.mul(item, size), b.mul(item, f.width)
        cosines, sines = b.offset(cos, turn), b.offset(sin, turn)

        def head(number: ir.Value, _: object) -> None:
            first = b.mul(number, size)
            numbers, factor = b.offset(rows, b.add(begin, first)), None
            if norm is not None:

                def square(at: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
                    return [b.fma(b.load_vector(numbers, at), b.load_vector(numbers, at), so_far[0])]

                squares = b.loop(int64(0), size, LANES, square, [vector(0.0)])[0]
                factor = b.splat(_inverse_rms(f, squares, size), EIGHT.count)

            def eight(at: ir.Value) -> ir.Value:
                found = b.load_vector(numbers, at, EIGHT)
                if factor is None:
                    return found
                return b.fmul(b.fmul(found, factor), b.load_vector(b.offset(norm, first), at, EIGHT))

            def turned(low: ir.Value, _: object) -> None:
                high = b.add(low, half)
                one, other = eight(low), eight(high)

                def times(found: ir.Value, table: ir.Value, at: ir.Value) -> ir.Value:
                    return b.fmul(found, b.load_vector(table, at, EIGHT))

                b.store(b.fsub(times(one, cosines, low), times(other, sines, low)), numbers, low)
                b.store(b.fadd(times(other, cosines, high), times(one, sines, high)), numbers, high)

            b.loop(int64(0), half, EIGHT.count, turned)

        b.loop(int64(0), heads, 1, head)

    f.over_rows(row)


def _define_gate(module: ir.Module) -> None:
    f = _Function(module, "gate")
    b, rows, out = f.b, f.pointer(), f.pointer()
    absolute = b.intrinsic("llvm.fabs.v16f32", VECTOR, [VECTOR])

    def row(item: ir.Value) -> None:
        target = b.offset(out, b.mul(item, f.width))
        source = b.offset(rows, b.mul(item, b.mul(f.width, int64(2))))
        other = b.offset(source, f.width)

        def sixteen(at: ir.Value, _: object) -> None:
            x = b.load_vector(source, at)
            small = b.exp(b.fneg(b.call(absolute, [x])))
            above = b.select(b.fcmp_ordered("<", x, vector(0.0)), small, vector(1.0))
            sigmoid = b.fdiv(above, b.fadd(small, vector(1.0)))
            b.store(b.fmul(b.fmul(x, sigmoid), b.load_vector(other, at)), target, at)

        b.loop(int64(0), f.width, LANES, sixteen)

    f.over_rows(row)


def _define_sum(module: ir.Module, name: str, bias: bool) -> None:
    f = _Function(module, name)
    b, rows, added = f.b, f.pointer(), f.pointer()

    def row(item: ir.Value) -> None:
        begin = b.mul(item, f.width)
        target, other = b.offset(rows, begin), added if bias else b.offset(added, begin)

        def sixteen(at: ir.Value, _: object) -> None:
            b.store(b.fadd(b.load_vector(target, at), b.load_vector(other, at)), target, at)

        b.loop(int64(0), f.width, LANES, sixteen)

    f.over_rows(row)
