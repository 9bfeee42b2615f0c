"""Keys and values in panels of 16 slots, as attention reads them: stored, and gathered where they are kept otherwise.

A panel of keys is [size, 16]: the same number of 16 tokens side by side. A panel of values is [columns / 16, 16, 16]: of
every 16 columns, token by token.
"""

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Call, kernel_module
from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, LANES, POINTER, Builder, int64
from foreword.backends.cpu.kernels.signature import Argument, Signature
from foreword.backends.cpu.kernels.target import Target

INT16 = ir.IntType(16)
TOKENS = 16
"""Taken at a time by a thread: those of a panel share the lines of the processor's cache."""

STORE = Signature(
    "store",
    count="int",
    slots="pointer",
    heads="int",
    keys="pointer",
    keys_head="int",
    keys_row="int",
    key_size="int",
    key_memory="pointer",
    key_memory_head="int",
    key_memory_panel="int",
    values="pointer",
    values_head="int",
    values_row="int",
    value_size="int",
    value_memory="pointer",
    value_memory_head="int",
    value_memory_panel="int",
)
"""Keys and values of ``count`` tokens into the memory of a layer; ``..._head``, ``_row`` and ``_panel`` are strides."""


def store(
    target: Target,
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
    (key_memory, value_memory), (keys_into, values_into) = like, into
    return store_kernels(target, key_memory.dtype)[STORE].call(
        items=heads * -(-count // TOKENS),
        count=count,
        slots=slots,
        heads=heads,
        keys=keys,
        keys_head=keys.stride(0),
        keys_row=keys.stride(1),
        key_size=keys.shape[2],
        key_memory=keys_into,
        key_memory_head=key_memory.stride(0),
        key_memory_panel=key_memory.stride(1),
        values=values,
        values_head=values.stride(0),
        values_row=values.stride(1),
        value_size=values.shape[2],
        value_memory=values_into,
        value_memory_head=value_memory.stride(0),
        value_memory_panel=value_memory.stride(1),
    )


def kept_as(dtype: torch.dtype) -> ir.Type:
    """The kind of a number in memory; of bfloat16 its 16 bits."""
    return FLOAT if dtype == torch.float32 else INT16


@kernel_module(STORE)
def store_kernels(module: ir.Module, _: Target, dtype: torch.dtype) -> None:
    """An item is a head, and some tokens one after another."""
    kept = kept_as(dtype)
    with STORE.define(module) as (b, f):

        def tokens(item: ir.Value) -> None:
            head, first = b.srem(item, f.heads), b.mul(b.sdiv(item, f.heads), int64(TOKENS))
            last = b.minimum_int(b.add(first, int64(TOKENS)), f.count)

            def token(index: ir.Value, _: object) -> None:
                slot = b.load(f.slots, index, INT64)
                panel, lane = b.sdiv(slot, int64(LANES)), b.and_(slot, int64(LANES - 1))

                def row(rows: ir.Value, head_stride: ir.Value, row_stride: ir.Value) -> ir.Value:
                    return b.offset(rows, b.add(b.mul(head, head_stride), b.mul(index, row_stride)))

                def place(memory: ir.Value, head_stride: ir.Value, panel_stride: ir.Value) -> ir.Value:
                    return b.offset(memory, b.add(b.mul(head, head_stride), b.mul(panel, panel_stride)), kept)

                key = row(f.keys, f.keys_head, f.keys_row)
                panel_of_keys = place(f.key_memory, f.key_memory_head, f.key_memory_panel)
                _store_key(b, key, f.key_size, panel_of_keys, lane, kept)
                value = row(f.values, f.values_head, f.values_row)
                panel_of_values = place(f.value_memory, f.value_memory_head, f.value_memory_panel)
                _store_value(b, value, f.value_size, panel_of_values, lane, kept)

            b.loop(first, last, 1, token)

        b.parallel_for(f.taken, f.items, tokens)


def _store_key(b: Builder, source: ir.Value, size: ir.Value, panel: ir.Value, lane: ir.Value, kept: ir.Type) -> None:
    column = b.offset(panel, lane, kept)

    def sixteen(at: ir.Value, _: object) -> None:
        numbers = _kept(b, b.load_vector(source, at), kept)
        for index in range(LANES):
            number = b.extract_element(numbers, ir.Constant(INT32, index))
            b.store(number, column, b.mul(b.add(at, int64(index)), int64(LANES)))

    whole = b.and_(size, int64(-LANES))
    b.loop(int64(0), whole, LANES, sixteen)
    b.loop(whole, size, 1, lambda at, _: b.store(_kept_number(b, source, at, kept), column, b.mul(at, int64(LANES))))


def _store_value(b: Builder, source: ir.Value, size: ir.Value, panel: ir.Value, lane: ir.Value, kept: ir.Type) -> None:
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
