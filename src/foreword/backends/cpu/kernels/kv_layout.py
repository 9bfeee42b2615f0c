"""Keys and values in panels of 16 slots, as attention reads them: stored, and gathered where they are kept otherwise.

A panel of keys is [size, 16]: the same number of 16 tokens side by side. A panel of values is [columns / 16, 16, 16]: of
every 16 columns, token by token.

In int8 a token's key is whole numbers up to 127 and a scale, and so is its value. Both scales, float32, lie in the panel of
keys, byte by byte in eight more rows, so that a token's lane of its panels is all that there is of it. Whoever reads takes
number times scale: attention over a token's own chunk as well.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Call, kernel_module
from foreword.backends.cpu.kernels.dots import INT8, INT16, LARGEST
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
)
from foreword.backends.cpu.kernels.signature import Argument, Signature
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.whole_rows import rounded, row_scale

TOKENS = 16
"""Taken at a time by a thread: those of a panel share the lines of the processor's cache."""
SCALE_BYTES = 4
KEY_SCALE, VALUE_SCALE = 0, SCALE_BYTES
"""Rows of the scales, behind those of a key's numbers."""
SCALE_ROWS = 2 * SCALE_BYTES

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

    Numbers of a token stand side by side. ``like`` are keys and values of a layer in memory, [heads, panels, ...] in the
    dtype they are kept in; ``into`` are the layer's own, or those of several layers.
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
    return {torch.float32: FLOAT, torch.bfloat16: INT16, torch.int8: INT8}[dtype]


def scale_rows(dtype: torch.dtype) -> int:
    """Rows of a panel of keys, behind those of a key's numbers, in which the scales are."""
    return SCALE_ROWS if dtype == torch.int8 else 0


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

                panel_of_keys = place(f.key_memory, f.key_memory_head, f.key_memory_panel)
                panel_of_values = place(f.value_memory, f.value_memory_head, f.value_memory_panel)

                def scaled(numbers: ir.Value, size: ir.Value, row: int) -> ir.Value | None:
                    """Store the scale of a key or a value; gives what is then 1. None where there are no scales."""
                    if kept is not INT8:
                        return None
                    step, scale = row_scale(b, numbers, size, ir.Constant(FLOAT, float(LARGEST)))
                    _store_scale(b, scale, panel_of_keys, b.add(f.key_size, int64(row)), lane)
                    return step

                key = row(f.keys, f.keys_head, f.keys_row)
                of_key = scaled(key, f.key_size, KEY_SCALE)
                _store_key(b, key, f.key_size, panel_of_keys, lane, partial(_kept, b, kept, of_key))
                value = row(f.values, f.values_head, f.values_row)
                of_value = scaled(value, f.value_size, VALUE_SCALE)
                _store_value(b, value, f.value_size, panel_of_values, lane, partial(_kept, b, kept, of_value))

            b.loop(first, last, 1, token)

        b.parallel_for(f.taken, f.items, tokens)


Keep = Callable[[ir.Value], ir.Value]
"""A vector of numbers as it is kept."""


def _store_key(b: Builder, source: ir.Value, size: ir.Value, panel: ir.Value, lane: ir.Value, keep: Keep) -> None:
    def sixteen(at: ir.Value, _: object) -> None:
        numbers = keep(b.load_vector(source, at))
        for index in range(LANES):
            number = b.extract_element(numbers, ir.Constant(INT32, index))
            b.store(number, panel, b.add(b.mul(b.add(at, int64(index)), int64(LANES)), lane))

    def one(at: ir.Value, _: object) -> None:
        b.store(_kept_number(b, source, at, keep), panel, b.add(b.mul(at, int64(LANES)), lane))

    whole = b.and_(size, int64(-LANES))
    b.loop(int64(0), whole, LANES, sixteen)
    b.loop(whole, size, 1, one)


def _store_value(b: Builder, source: ir.Value, size: ir.Value, panel: ir.Value, lane: ir.Value, keep: Keep) -> None:
    first = b.mul(lane, int64(LANES))

    def sixteen(at: ir.Value, _: object) -> None:
        b.store(keep(b.load_vector(source, at)), panel, b.add(first, b.mul(at, int64(LANES))))

    whole = b.and_(size, int64(-LANES))
    b.loop(int64(0), whole, LANES, sixteen)
    last = b.add(first, b.mul(whole, int64(LANES)))
    b.loop(whole, size, 1, lambda at, _: b.store(_kept_number(b, source, at, keep), panel, b.add(last, b.sub(at, whole))))


def _kept_number(b: Builder, source: ir.Value, at: ir.Value, keep: Keep) -> ir.Value:
    return b.extract_element(keep(b.splat(b.load(source, at))), ir.Constant(INT32, 0))


def _kept(b: Builder, kept: ir.Type, step: ir.Value | None, numbers: ir.Value) -> ir.Value:
    """A vector as it is kept: in int8 how many steps numbers are, in bfloat16 the upper half of a float32. Both are rounded
    to the nearest, to the even one of two."""
    if step is not None:
        return b.trunc(rounded(b, b.fdiv(numbers, b.splat(step))), ir.VectorType(INT8, LANES))
    if kept is FLOAT:
        return numbers
    wide = ir.VectorType(INT32, LANES)
    constant = {value: ir.Constant(wide, [value] * LANES) for value in (1, 16, 0x7FC0, 0x7FFF)}
    bits = b.bitcast(numbers, wide)
    odd = b.and_(b.lshr(bits, constant[16]), constant[1])
    nearest = b.lshr(b.add(b.add(bits, constant[0x7FFF]), odd), constant[16])
    broken = b.fcmp_unordered("uno", numbers, numbers)
    return b.trunc(b.select(broken, constant[0x7FC0], nearest), ir.VectorType(INT16, LANES))


def _store_scale(b: Builder, scale: ir.Value, panel: ir.Value, row: ir.Value, lane: ir.Value) -> None:
    bits = b.bitcast(scale, INT32)
    for byte in range(SCALE_BYTES):
        part = b.trunc(b.lshr(bits, ir.Constant(INT32, 8 * byte)), INT8)
        b.store(part, panel, b.add(b.mul(b.add(row, int64(byte)), int64(LANES)), lane))


def _scales(b: Builder, panel: ir.Value, row: ir.Value) -> ir.Value:
    """Those of a panel's 16 tokens, from the row on in which they begin."""
    bits = ir.Constant(INT_VECTOR, [0] * LANES)
    for byte in range(SCALE_BYTES):
        part = b.load_vector(panel, b.mul(b.add(row, int64(byte)), int64(LANES)), ir.VectorType(INT8, LANES))
        bits = b.or_(bits, b.shl(b.zext(part, INT_VECTOR), ir.Constant(INT_VECTOR, [8 * byte] * LANES)))
    return b.bitcast(bits, VECTOR)


def define_gather(module: ir.Module, kept: ir.Type) -> ir.Function:
    """Keys and values of up to 16 slots, kept in float32 or bfloat16 → a panel of each, in float32.

    Arguments: the panels, keys and values of the head, the slots, how many, whether they are a whole panel, and the
    numbers of a token's keys and values.
    """
    b = Builder.of(module, "gather", _GATHERED)
    slots = _Slots(b, kept, b.function.args)
    panel_kind = ir.VectorType(kept, LANES)

    def key_vector(keys: ir.Value, at: ir.Value) -> None:
        b.store(_widened(b, b.load_vector(keys, at, panel_kind)), slots.key_panel, at)

    def whole() -> None:
        keys, values, _ = slots.place(int64(0))
        b.loop(int64(0), b.mul(slots.size, int64(LANES)), LANES, lambda at, _: key_vector(keys, at))

        def value_vector(at: ir.Value, _: object) -> None:
            b.store(_widened(b, b.load_vector(values, at, panel_kind)), slots.value_panel, at)

        b.loop(int64(0), b.mul(slots.padded, int64(LANES)), LANES, value_vector)

    def token(index: ir.Value) -> None:
        keys, values, lane = slots.place(index)

        def one_key(k: ir.Value, _: object) -> None:
            at = b.mul(k, int64(LANES))
            number = _widened(b, b.splat(b.load(keys, b.add(at, lane), kept)))
            b.store(b.extract_element(number, ir.Constant(INT32, 0)), slots.key_panel, b.add(at, index))

        def one_vector(column: ir.Value, _: object) -> None:
            at = b.mul(column, int64(LANES))
            numbers = _widened(b, b.load_vector(values, b.add(at, b.mul(lane, int64(LANES))), panel_kind))
            b.store(numbers, slots.value_panel, b.add(at, b.mul(index, int64(LANES))))

        b.loop(int64(0), slots.size, 1, one_key)
        b.loop(int64(0), slots.padded, LANES, one_vector)

    slots.gather(None if kept is FLOAT else whole, token)  # whole panels of float32 are read where they are
    return b.function


def define_whole_gather(module: ir.Module) -> ir.Function:
    """Keys and values of up to 16 slots, kept in int8 → a panel of each, as attention_whole.py wants it; arguments are
    those of ``define_gather``."""
    b = Builder.of(module, "gather", _GATHERED)
    slots = _Slots(b, INT8, b.function.args)
    gather = _WholeGather(b, slots)
    slots.gather(gather.panel, gather.token)
    return b.function


class _WholeGather:
    """The two ways of it: a whole panel of memory, and a token."""

    def __init__(self, b: Builder, slots: "_Slots"):
        self._b, self._slots = b, slots
        self._pairs = b.lshr(b.add(slots.size, int64(1)), int64(1))
        self._scales = b.mul(self._pairs, int64(LANES))

    def panel(self) -> None:
        """Pairs of neighbouring rows: of keys two numbers of each token, of values two tokens' numbers."""
        b, slots = self._b, self._slots
        keys, values, _ = slots.place(int64(0))

        def key_pair(number: ir.Value, _: object) -> None:
            at = b.mul(number, int64(LANES))
            self._pair(keys, b.mul(at, int64(2)), slots.key_panel, at)

        def sixteen_columns(column: ir.Value, _: object) -> None:
            for number in range(LANES // 2):
                first = b.add(b.mul(column, int64(LANES)), int64(2 * number * LANES))
                self._pair(values, first, slots.value_panel, b.lshr(first, int64(1)))

        b.loop(int64(0), self._pairs, 1, key_pair)
        b.loop(int64(0), slots.padded, LANES, sixteen_columns)
        for index, numbers in enumerate(self._both_scales(keys)):
            b.store(numbers, slots.key_panel, b.add(self._scales, int64(index * LANES)))

    def token(self, index: ir.Value) -> None:
        """Number by number."""
        b, slots = self._b, self._slots
        keys, values, lane = slots.place(index)

        def one_key(k: ir.Value, _: object) -> None:
            number = b.load(keys, b.add(b.mul(k, int64(LANES)), lane), INT8)
            self._put(number, slots.key_panel, k, index)

        def one_value(column: ir.Value, _: object) -> None:
            first, at = b.and_(column, int64(-LANES)), b.and_(column, int64(LANES - 1))
            number = b.load(values, b.add(b.mul(b.add(first, lane), int64(LANES)), at), INT8)
            self._put(number, slots.value_panel, b.add(first, index), at)

        b.loop(int64(0), slots.size, 1, one_key)
        b.loop(int64(0), slots.padded, 1, one_value)
        for number, numbers in enumerate(self._both_scales(keys)):
            scale = b.extract_element(numbers, b.trunc(lane, INT32))
            b.store(scale, slots.key_panel, b.add(b.add(self._scales, int64(number * LANES)), index))

    def _pair(self, rows: ir.Value, first: ir.Value, panel: ir.Value, at: ir.Value) -> None:
        """Two rows of 16 numbers, side by side number by number."""
        b = self._b
        one, other = (b.load_vector(rows, b.add(first, int64(row * LANES)), _SIXTEEN_BYTES) for row in range(2))
        b.store(b.sext(b.shuffle(one, other, _CROSSED), _PAIRS), b.offset(panel, at), int64(0))

    def _put(self, number: ir.Value, panel: ir.Value, row: ir.Value, lane: ir.Value) -> None:
        """A number of a row where its pair is."""
        b = self._b
        place = b.add(b.mul(b.lshr(row, int64(1)), int64(LANES)), lane)
        b.store(b.sext(number, INT16), panel, b.add(b.mul(place, int64(2)), b.and_(row, int64(1))))

    def _both_scales(self, keys: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Of keys and of values. A key's is none where its value's is: who looks at it sees that by its score."""
        b, size = self._b, self._slots.size
        of_keys, of_values = (_scales(b, keys, b.add(size, int64(row))) for row in (KEY_SCALE, VALUE_SCALE))
        return b.fma(of_values, ir.Constant(VECTOR, [0.0] * LANES), of_keys), of_values


_SIXTEEN_BYTES, _PAIRS = ir.VectorType(INT8, LANES), ir.VectorType(INT16, 2 * LANES)
_CROSSED = [lane + side * LANES for lane in range(LANES) for side in range(2)]
_GATHERED = [POINTER, POINTER, POINTER, POINTER, POINTER, INT64, INT64, INT64, INT64]


class _Slots:
    """The arguments of a gathering function, and where a slot's numbers are."""

    def __init__(self, b: Builder, kept: ir.Type, given: Sequence[ir.Value]):
        self._b, self._kept = b, kept
        self.key_panel, self.value_panel, self._keys, self._values, self._slots = given[:5]
        self._count, self._whole, self.size, self.padded = given[5:]
        self._key_rows = b.add(self.size, int64(SCALE_ROWS if kept is INT8 else 0))

    def gather(self, whole: Callable[[], None] | None, token: Callable[[ir.Value], None]) -> None:
        """Go through them: as a whole panel of memory, or each from its own panel; ends the function."""
        b = self._b

        def tokens() -> None:
            b.loop(int64(0), self._count, 1, lambda index, _: token(index))

        if whole is None:
            tokens()
        else:
            with b.if_else(b.icmp_signed("!=", self._whole, int64(0))) as (then, otherwise):
                with then:
                    whole()
                with otherwise:
                    tokens()
        b.ret_void()

    def place(self, index: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Of a slot: the panels of keys and of values in memory, and the lane in them."""
        b = self._b
        slot = b.sext(b.load(self._slots, index, INT32), INT64)
        first, lane = b.and_(slot, int64(-LANES)), b.and_(slot, int64(LANES - 1))
        keys = b.offset(self._keys, b.mul(first, self._key_rows), self._kept)
        return keys, b.offset(self._values, b.mul(first, self.padded), self._kept), lane


def _widened(b: Builder, numbers: ir.Value) -> ir.Value:
    """A vector of what is kept, as float32. bfloat16 is the upper half of a float32."""
    if numbers.type.element is FLOAT:
        return numbers
    return b.bitcast(b.shl(b.zext(numbers, INT_VECTOR), ir.Constant(INT_VECTOR, [16] * LANES)), VECTOR)
