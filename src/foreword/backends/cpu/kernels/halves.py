"""Weights of 16 bits as float32, to the bit: float16 and bfloat16."""

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, Builder
from foreword.backends.cpu.kernels.target import Target

INT16 = ir.IntType(16)


def read_float16(b: Builder, target: Target, pointer: ir.Value, at: ir.Value, lanes: int) -> ir.Value:
    """So many from ``at`` on. Without an instruction for it their bits are moved, and multiplied by 2^112, which is exact;
    what is no number is not read."""
    kept = b.load_vector(pointer, at, ir.VectorType(INT16, lanes))
    whole, floats = ir.VectorType(INT32, lanes), ir.VectorType(FLOAT, lanes)
    if target.halves:
        return b.fpext(b.bitcast(kept, ir.VectorType(ir.HalfType(), lanes)), floats)
    wide = b.zext(kept, whole)
    constant = {value: ir.Constant(whole, [value] * lanes) for value in (0x7FFF, 0x8000, 13, 16)}
    size = b.bitcast(b.shl(b.and_(wide, constant[0x7FFF]), constant[13]), floats)
    scaled = b.bitcast(b.fmul(size, ir.Constant(floats, [2.0**112] * lanes)), whole)
    return b.bitcast(b.or_(scaled, b.shl(b.and_(wide, constant[0x8000]), constant[16])), floats)


def read_bfloat16(b: Builder, pointer: ir.Value, at: ir.Value, lanes: int) -> ir.Value:
    """So many from ``at`` on: the upper halves of float32."""
    whole = ir.VectorType(INT32, lanes)
    wide = b.zext(b.load_vector(pointer, at, ir.VectorType(INT16, lanes)), whole)
    return b.bitcast(b.shl(wide, ir.Constant(whole, [16] * lanes)), ir.VectorType(FLOAT, lanes))
