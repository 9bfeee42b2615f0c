"""What stands between the linear layers of a decoder layer: norms, rotary positions, the gated activation and sums.

All go row by row, so a row's bits depend on nothing but the row. A norm's sum of squares is 16 chains, added in one order.
Each function gives a call that is yet to be made; weights may be those of several layers.
"""

import struct
from functools import cache
from typing import Any

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Call, Kernels, Value
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, LANES, POINTER, VECTOR, Builder, int64, vector

EIGHT = ir.VectorType(FLOAT, 8)


def rms_norm(rows: torch.Tensor, weight: Value, eps: float, out: torch.Tensor) -> Call:
    """Each row of float32 [rows, width] by its root mean square, times ``weight`` [width]. Width is a multiple of 16."""
    return _call("norm", rows, eps, rows, weight, out)


def add_rms_norm(rows: torch.Tensor, added: torch.Tensor, weight: Value, eps: float, out: torch.Tensor) -> Call:
    """``rows += added``, then as ``rms_norm``."""
    return _call("add_norm", rows, eps, rows, weight, out, added)


def rotate(
    rows: torch.Tensor, heads: int, size: int, cos: torch.Tensor, sin: torch.Tensor, norm: Value | None, eps: float
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


def add_bias(rows: torch.Tensor, bias: Value) -> Call:
    """Add ``bias`` [width] to each row. Width is a multiple of 16."""
    return _call("add_bias", rows, 0.0, rows, bias)


def _call(name: str, rows: torch.Tensor, eps: float, *values: Value) -> Call:
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

    def size(self) -> Any:
        self.fields += 1
        return self.b.number(self.data, int64(self.fields), INT64)

    def pointer(self) -> Any:
        return self.b.inttoptr(self.size(), POINTER)

    def over_rows(self, body: Any) -> None:
        self.b.work(self.data, self.count, body)
        self.b.ret_void()


def _inverse_rms(f: _Function, squares: Any, width: Any) -> Any:
    """1 / √(mean of squares + eps), from 16 sums of squares."""
    b = f.b
    mean = b.fdiv(b.fold(squares, b.fadd), b.sitofp(width, FLOAT))
    root = b.call(b.intrinsic("llvm.sqrt.f32", FLOAT, [FLOAT]), [b.fadd(mean, f.eps)])
    return b.fdiv(ir.Constant(FLOAT, 1.0), root)


def _define_norm(module: ir.Module, name: str, adds: bool) -> None:
    f = _Function(module, name)
    b, rows, weight, out = f.b, f.pointer(), f.pointer(), f.pointer()
    added = f.pointer() if adds else None

    def row(item: Any) -> None:
        begin = b.mul(item, f.width)
        source, target = b.at(rows, begin), b.at(out, begin)

        def square(at: Any, so_far: list[Any]) -> list[Any]:
            numbers = b.lanes(source, at)
            if added is not None:
                numbers = b.fadd(numbers, b.lanes(added, b.add(begin, at)))
                b.put(numbers, source, at)
            return [b.fma(numbers, numbers, so_far[0])]

        squares = b.loop(int64(0), f.width, LANES, square, [vector(0.0)])[0]
        factor = b.splat(_inverse_rms(f, squares, f.width))

        def scale(at: Any, _: Any) -> None:
            b.put(b.fmul(b.fmul(b.lanes(source, at), factor), b.lanes(weight, at)), target, at)

        b.loop(int64(0), f.width, LANES, scale)

    f.over_rows(row)


def _define_rotate(module: ir.Module, name: str, normed: bool) -> None:
    f = _Function(module, name)
    b, heads, size, rows, cos, sin = f.b, f.size(), f.size(), f.pointer(), f.pointer(), f.pointer()
    norm = f.pointer() if normed else None
    half = b.sdiv(size, int64(2))

    def row(item: Any) -> None:
        turn, begin = b.mul(item, size), b.mul(item, f.width)
        cosines, sines = b.at(cos, turn), b.at(sin, turn)

        def head(number: Any, _: Any) -> None:
            first = b.mul(number, size)
            numbers, factor = b.at(rows, b.add(begin, first)), None
            if norm is not None:

                def square(at: Any, so_far: list[Any]) -> list[Any]:
                    return [b.fma(b.lanes(numbers, at), b.lanes(numbers, at), so_far[0])]

                squares = b.loop(int64(0), size, LANES, square, [vector(0.0)])[0]
                factor = b.splat(_inverse_rms(f, squares, size), EIGHT.count)

            def eight(at: Any) -> Any:
                found = b.lanes(numbers, at, EIGHT)
                if factor is None:
                    return found
                return b.fmul(b.fmul(found, factor), b.lanes(b.at(norm, first), at, EIGHT))

            def turned(low: Any, _: Any) -> None:
                high = b.add(low, half)
                one, other = eight(low), eight(high)

                def times(found: Any, table: Any, at: Any) -> Any:
                    return b.fmul(found, b.lanes(table, at, EIGHT))

                b.put(b.fsub(times(one, cosines, low), times(other, sines, low)), numbers, low)
                b.put(b.fadd(times(other, cosines, high), times(one, sines, high)), numbers, high)

            b.loop(int64(0), half, EIGHT.count, turned)

        b.loop(int64(0), heads, 1, head)

    f.over_rows(row)


def _define_gate(module: ir.Module) -> None:
    f = _Function(module, "gate")
    b, rows, out = f.b, f.pointer(), f.pointer()
    absolute = b.intrinsic("llvm.fabs.v16f32", VECTOR, [VECTOR])

    def row(item: Any) -> None:
        target = b.at(out, b.mul(item, f.width))
        source = b.at(rows, b.mul(item, b.mul(f.width, int64(2))))
        other = b.at(source, f.width)

        def sixteen(at: Any, _: Any) -> None:
            x = b.lanes(source, at)
            small = b.exp(b.fneg(b.call(absolute, [x])))
            above = b.select(b.fcmp_ordered("<", x, vector(0.0)), small, vector(1.0))
            sigmoid = b.fdiv(above, b.fadd(small, vector(1.0)))
            b.put(b.fmul(b.fmul(x, sigmoid), b.lanes(other, at)), target, at)

        b.loop(int64(0), f.width, LANES, sixteen)

    f.over_rows(row)


def _define_sum(module: ir.Module, name: str, bias: bool) -> None:
    f = _Function(module, name)
    b, rows, added = f.b, f.pointer(), f.pointer()

    def row(item: Any) -> None:
        begin = b.mul(item, f.width)
        target, other = b.at(rows, begin), added if bias else b.at(added, begin)

        def sixteen(at: Any, _: Any) -> None:
            b.put(b.fadd(b.lanes(target, at), b.lanes(other, at)), target, at)

        b.loop(int64(0), f.width, LANES, sixteen)

    f.over_rows(row)
