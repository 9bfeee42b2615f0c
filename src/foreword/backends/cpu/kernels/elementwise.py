"""What stands between the linear layers of a decoder layer: norms, rotary positions, the gated activation and sums.

All go row by row, so a row's bits depend on nothing but the row. A norm's sum of squares is 16 chains, added in one order.
Each function gives a call that is yet to be made; weights may be those of several layers.
"""

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Call, kernel_module
from foreword.backends.cpu.kernels.ir_builder import FLOAT, LANES, VECTOR, Builder, int64, vector
from foreword.backends.cpu.kernels.signature import Argument, Signature
from foreword.backends.cpu.kernels.target import Target

EIGHT = ir.VectorType(FLOAT, 8)

# An item is a row of ``width`` numbers; of the gate, of ``width`` numbers that come out.
NORM = Signature("norm", width="int", eps="float", rows="pointer", weight="pointer", out="pointer")
ADD_NORM = Signature("add_norm", width="int", eps="float", rows="pointer", weight="pointer", out="pointer", added="pointer")
ROTATE = Signature("rotate", width="int", heads="int", size="int", rows="pointer", cos="pointer", sin="pointer")
NORM_ROTATE = Signature(
    "norm_rotate",
    width="int",
    eps="float",
    heads="int",
    size="int",
    rows="pointer",
    cos="pointer",
    sin="pointer",
    norm="pointer",
)
GATE = Signature("gate", width="int", rows="pointer", out="pointer")
ADD = Signature("add", width="int", rows="pointer", added="pointer")
ADD_BIAS = Signature("add_bias", width="int", rows="pointer", bias="pointer")


def rms_norm(target: Target, rows: torch.Tensor, weight: Argument, eps: float, out: torch.Tensor) -> Call:
    """Each row of float32 [rows, width] by its root mean square, times ``weight`` [width]. Width is a multiple of 16."""
    return _call(target, NORM, rows, eps=eps, rows=rows, weight=weight, out=out)


def add_rms_norm(
    target: Target, rows: torch.Tensor, added: torch.Tensor, weight: Argument, eps: float, out: torch.Tensor
) -> Call:
    """``rows += added``, then as ``rms_norm``."""
    return _call(target, ADD_NORM, rows, eps=eps, rows=rows, weight=weight, out=out, added=added)


def rotate(
    target: Target,
    rows: torch.Tensor,
    heads: int,
    size: int,
    cos: torch.Tensor,
    sin: torch.Tensor,
    norm: Argument | None,
    eps: float,
) -> Call:
    """Turn the first heads of each row by its position, in place; normed before where there is a ``norm``.

    Rows are float32 [rows, width], of which the first ``heads`` · ``size`` numbers are heads; ``cos`` and ``sin`` are
    [rows, size], ``norm`` [heads, size]. Of a head, number i turns with number i + size / 2. Size is a multiple of 16.
    """
    if norm is None:
        return _call(target, ROTATE, rows, heads=heads, size=size, rows=rows, cos=cos, sin=sin)
    return _call(target, NORM_ROTATE, rows, eps=eps, heads=heads, size=size, rows=rows, cos=cos, sin=sin, norm=norm)


def gate(target: Target, rows: torch.Tensor, out: torch.Tensor) -> Call:
    """float32 [rows, 2 · width] → [rows, width]: SiLU of the first half times the second. Width is a multiple of 16."""
    return _call(target, GATE, out, rows=rows, out=out)


def add(target: Target, rows: torch.Tensor, added: torch.Tensor) -> Call:
    """``rows += added``. Width is a multiple of 16."""
    return _call(target, ADD, rows, rows=rows, added=added)


def add_bias(target: Target, rows: torch.Tensor, bias: Argument) -> Call:
    """Add ``bias`` [width] to each row. Width is a multiple of 16."""
    return _call(target, ADD_BIAS, rows, rows=rows, bias=bias)


def _call(target: Target, signature: Signature, like: torch.Tensor, **arguments: Argument) -> Call:
    """For each of the rows of ``like``."""
    return elementwise_kernels(target)[signature].call(items=len(like), width=like.shape[1], **arguments)


@kernel_module(NORM, ADD_NORM, ROTATE, NORM_ROTATE, GATE, ADD, ADD_BIAS)
def elementwise_kernels(module: ir.Module, _: Target) -> None:
    """The kernels of norms, rotation, gate and sums."""
    _define_norm(module, NORM)
    _define_norm(module, ADD_NORM)
    _define_rotate(module, ROTATE)
    _define_rotate(module, NORM_ROTATE)
    _define_gate(module)
    _define_add(module, ADD)
    _define_add(module, ADD_BIAS)


def _inverse_rms(b: Builder, squares: ir.Value, width: ir.Value, eps: ir.Value) -> ir.Value:
    """1 / √(mean of squares + eps), from 16 sums of squares."""
    mean = b.fdiv(b.reduce(squares, b.fadd), b.sitofp(width, FLOAT))
    root = b.call(b.intrinsic("llvm.sqrt.f32", FLOAT, [FLOAT]), [b.fadd(mean, eps)])
    return b.fdiv(ir.Constant(FLOAT, 1.0), root)


def _define_norm(module: ir.Module, signature: Signature) -> None:
    with signature.define(module) as (b, f):
        eps, rows, weight, out = f.eps, f.rows, f.weight, f.out
        added = f.added if signature is ADD_NORM else None

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
            factor = b.splat(_inverse_rms(b, squares, f.width, eps))

            def scale(at: ir.Value, _: object) -> None:
                b.store(b.fmul(b.fmul(b.load_vector(source, at), factor), b.load_vector(weight, at)), target, at)

            b.loop(int64(0), f.width, LANES, scale)

        b.parallel_for(f.taken, f.items, row)


def _define_rotate(module: ir.Module, signature: Signature) -> None:
    with signature.define(module) as (b, f):
        rows, cos, sin = f.rows, f.cos, f.sin
        norm, eps = (f.norm, f.eps) if signature is NORM_ROTATE else (None, None)
        half = b.sdiv(f.size, int64(2))

        def row(item: ir.Value) -> None:
            turn, begin = b.mul(item, f.size), b.mul(item, f.width)
            cosines, sines = b.offset(cos, turn), b.offset(sin, turn)

            def head(number: ir.Value, _: object) -> None:
                first = b.mul(number, f.size)
                numbers = b.offset(rows, b.add(begin, first))
                factor = None if norm is None else _head_factor(b, numbers, f.size, eps)

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

            b.loop(int64(0), f.heads, 1, head)

        b.parallel_for(f.taken, f.items, row)


def _head_factor(b: Builder, numbers: ir.Value, size: ir.Value, eps: ir.Value) -> ir.Value:
    """What a head's numbers are multiplied with so that their root mean square is 1."""

    def square(at: ir.Value, so_far: list[ir.Value]) -> list[ir.Value]:
        return [b.fma(b.load_vector(numbers, at), b.load_vector(numbers, at), so_far[0])]

    squares = b.loop(int64(0), size, LANES, square, [vector(0.0)])[0]
    return b.splat(_inverse_rms(b, squares, size, eps), EIGHT.count)


def _define_gate(module: ir.Module) -> None:
    with GATE.define(module) as (b, f):
        rows, out = f.rows, f.out
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

        b.parallel_for(f.taken, f.items, row)


def _define_add(module: ir.Module, signature: Signature) -> None:
    with signature.define(module) as (b, f):
        rows, added = f.rows, f.bias if signature is ADD_BIAS else f.added

        def row(item: ir.Value) -> None:
            begin = b.mul(item, f.width)
            target, other = b.offset(rows, begin), added if signature is ADD_BIAS else b.offset(added, begin)

            def sixteen(at: ir.Value, _: object) -> None:
                b.store(b.fadd(b.load_vector(target, at), b.load_vector(other, at)), target, at)

            b.loop(int64(0), f.width, LANES, sixteen)

        b.parallel_for(f.taken, f.items, row)
