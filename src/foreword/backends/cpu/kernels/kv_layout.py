"""Keys and values in panels of 16 slots, as attention reads them: stored, and gathered where they are kept otherwise.

A panel of keys is [size, 16]: the same number of 16 tokens side by side. A panel of values is [columns / 16, 16, 16]: of
every 16 columns, token by token.
"""

from functools import cache

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Argument, Call, Kernels
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, LANES, POINTER, Builder, int64

INT16 = ir.IntType(16)
TOKENS = 16
"""Taken at a time by a thread: those of a panel share the lines of the processor's cache."""


def store(
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    like: tuple[torch.Tensor, torch.Tensor],
    into: tuple[Argument, Argument],
) -> Call:
    """Put float32 keys [heads, tokens, size] and values [heads, tokens, value size] where ``slots`` [tokens], int64, say.

    Numbers of a token stand side by side. ``like`` are keys and values of a layer in memory, [heads, panels, ...] in float32
    or bfloat16; ``into`` are the layer's own, or those of several layers.
    """
    heads, count = len(keys), len(slots)
    given: list[Argument] = [count, slots, heads]
    for part, memory, place in zip((keys, values), like, into, strict=True):
        given += [part, part.stride(0), part.stride(1), part.shape[2], place, memory.stride(0), memory.stride(1)]
    return store_kernels(like[0].dtype).call("store", heads * -(-count // TOKENS), *given)


def kept_as(dtype: torch.dtype) -> ir.Type:
    """The kind of a number in memory; of bfloat16 its 16 bits."""
    return FLOAT if dtype == torch.float32 else INT16


@cache
def store_kernels(dtype: torch.dtype) -> Kernels:
    """An item is a head, and some tokens one after another."""
    module = ir.Module("store")
    b = Builder.of(module, "store", [POINTER], internal=False)
    data, kept = b.function.args[0], kept_as(dtype)
    fields = [b.load(data, int64(field), INT64) for field in range(1, 19)]
    items, count, slots_at, heads = fields[:4]
    slots = b.inttoptr(slots_at, POINTER)

    def tokens(item: ir.Value) -> None:
        head, first = b.srem(item, heads), b.mul(b.sdiv(item, heads), int64(TOKENS))
        last = b.minimum_int(b.add(first, int64(TOKENS)), count)

        def token(index: ir.Value, _: object) -> None:
            slot = b.load(slots, index, INT64)
            panel, lane = b.sdiv(slot, int64(LANES)), b.and_(slot, int64(LANES - 1))
            for part, put in ((fields[4:11], _put_keys), (fields[11:18], _put_values)):
                source_at, source_head, source_row, size, memory, memory_head, memory_panel = part
                source = b.offset(b.inttoptr(source_at, POINTER), b.add(b.mul(head, source_head), b.mul(index, source_row)))
                place = b.add(b.mul(head, memory_head), b.mul(panel, memory_panel))
                put(b, source, size, b.offset(b.inttoptr(memory, POINTER), place, kept), lane, kept)

        b.loop(first, last, 1, token)

    b.parallel_for(data, items, tokens)
    b.ret_void()
    return Kernels(module)


def _put_keys(b: Builder, source: ir.Value, size: ir.Value, panel: ir.Value, lane: ir.Value, kept: ir.Type) -> None:
    column = b.offset(panel, lane, kept)

    def sixteen(at: ir.Value, _: object) -> None:
        numbers = _kept(b, b.load_vector(source, at), kept)
        for index in range(LANES):
            number = b.extract_element(numbers, ir.Constant(INT32, index))
            b.store(number, column, b.mul(b.add(at, int64(index)), int64(LANES)))

    whole = b.and_(size, int64(-LANES))
    b.loop(int64(0), whole, LANES, sixteen)
    b.loop(whole, size, 1, lambda at, _: b.store(_kept_number(b, source, at, kept), column, b.mul(at, int64(LANES))))


def _put_values(b: Builder, source: ir.Value, size: ir.Value, panel: ir.Value, lane: ir.Value, kept: ir.Type) -> None:
    row = b.offset(panel, b.mul(lane, int64(LANES)), kept)

    def sixteen(at: ir.Value, _: object) -> None:
        b.store(_kept(b, b.load_vector(source, at), kept), row, b.mul(at, int64(LANES)))

    whole = b.and_(size, int64(-LANES))
    b.loop(int64(0), whole, LANES, sixteen)
    last = b.offset(row, b.mul(whole, int64(LANES)), kept)
    b.loop(whole, size, 1, lambda at, _: b.store(_kept_number(b, source, at, kept), last, b.sub(at, whole)))


def _kept_number(b: Builder, source: ir.Value, at: ir.Value, kept: ir.Type) -> ir.Value:
    return b.extract_element(_kept(b, b.splat(b.load(source, at)), kept), ir.Constant(INT32, 0))


def _kept(b: Builder, numbers: ir.Value, kept: ir.Type) -> ir.Value:
    """A vector as it is kept. bfloat16 is the upper half of a float32, rounded to the nearest, to the even one of two."""
    if kept is FLOAT:
        return numbers
    wide = ir.VectorType(INT32, LANES)
    constant = {value: ir.Constant(wide, [value] * LANES) for value in (1, 16, 0x7FC0, 0x7FFF)}
    bits = b.bitcast(numbers, wide)
    odd = b.and_(b.lshr(bits, constant[16]), constant[1])
    rounded = b.lshr(b.add(b.add(bits, constant[0x7FFF]), odd), constant[16])
    broken = b.fcmp_unordered("uno", numbers, numbers)
    return b.trunc(b.select(broken, constant[0x7FC0], rounded), ir.VectorType(INT16, LANES))


def define_gather(module: ir.Module, kept: ir.Type) -> ir.Function:
    """Keys and values of up to 16 slots → a panel of each, in float32.

    Arguments: the panels, keys and values of the head, the slots, how many, whether they are a whole panel, and the
    numbers of a token's keys and values.
    """
    kinds = [POINTER, POINTER, POINTER, POINTER, POINTER, INT64, INT64, INT64, INT64]
    b = Builder.of(module, "gather", kinds)
    key_panel, value_panel, keys, values, slots, count, whole, size, padded = b.function.args
    lanes = ir.VectorType(kept, LANES)

    def place(index: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Of a slot: the panel's first slot, and the lane in it."""
        slot = b.sext(b.load(slots, index, INT32), INT64)
        return b.and_(slot, int64(-LANES)), b.and_(slot, int64(LANES - 1))

    def widen(target: ir.Value, memory: ir.Value, width: ir.Value) -> None:
        source = b.offset(memory, b.mul(place(int64(0))[0], width), kept)
        numbers = b.mul(width, int64(LANES))
        b.loop(int64(0), numbers, LANES, lambda at, _: b.store(_widened(b, b.load_vector(source, at, lanes)), target, at))

    def one_token(index: ir.Value, _: object) -> None:
        first, lane = place(index)
        source, vectors = (b.offset(keys, b.mul(first, size), kept), b.offset(values, b.mul(first, padded), kept))

        def one_key(k: ir.Value, _: object) -> None:
            at = b.mul(k, int64(LANES))
            b.store(_widened(b, b.load(source, b.add(at, lane), kept)), key_panel, b.add(at, index))

        def one_vector(column: ir.Value, _: object) -> None:
            at = b.mul(column, int64(LANES))
            numbers = b.load_vector(vectors, b.add(at, b.mul(lane, int64(LANES))), lanes)
            b.store(_widened(b, numbers), value_panel, b.add(at, b.mul(index, int64(LANES))))

        b.loop(int64(0), size, 1, one_key)
        b.loop(int64(0), padded, LANES, one_vector)

    if kept is FLOAT:  # whole panels are read where they are
        b.loop(int64(0), count, 1, one_token)
    else:
        with b.if_else(b.icmp_signed("!=", whole, int64(0))) as (then, otherwise):
            with then:
                widen(key_panel, keys, size)
                widen(value_panel, values, padded)
            with otherwise:
                b.loop(int64(0), count, 1, one_token)
    b.ret_void()
    return b.function


def _widened(b: Builder, value: ir.Value) -> ir.Value:
    """What is kept, as float32: a number or a vector. bfloat16 is the upper half of a float32."""
    kind = getattr(value.type, "element", value.type)
    if kind is FLOAT:
        return value
    lanes = getattr(value.type, "count", 0)
    wide, result = (ir.VectorType(INT32, lanes), ir.VectorType(FLOAT, lanes)) if lanes else (INT32, FLOAT)
    return b.bitcast(b.shl(b.zext(value, wide), ir.Constant(wide, [16] * lanes if lanes else 16)), result)
