"""Bit-identical attention: tiles of KV at absolute positions, each read once for the rows of a unit that share it.

The work is done by kernels/attention.py; what it goes through is planned by tiles.py. What a row gets depends on nothing but
the row and its own keys and values, so chunks, batch mates and cached prefixes change no bit.
"""

import struct
from collections.abc import Iterable

import numpy as np
import torch

from foreword.backends.base import LayerCall, Span
from foreword.backends.cpu.attention.tiles import Plan, make_plan
from foreword.backends.cpu.kernels.attention import attention_kernels, scratch_size
from foreword.backends.cpu.kernels.compiler import Argument, Call
from foreword.backends.cpu.kernels.ir_builder import LANES
from foreword.backends.cpu.kv_memory import KVMemory

UNBOUNDED = 2**40
STATE_BYTES = 64 * 2**20
"""Partial results that are held at a time; the segments of a long context are gone through in turns."""


class TiledAttention:
    """See AttentionBackend and the module's docstring."""

    name = "tiled"
    bit_identical = True

    def prepare(self, spans: list[Span], rows: int, memory: KVMemory) -> Plan:
        return make_plan(spans, rows, memory)

    def attend(self, prepared: Plan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        if query.stride(-1) != 1:
            query = query.contiguous()
        heads, rows, _ = query.shape
        out = query.new_empty(rows, heads, memory.layers[call.layer].value_size)
        for each in self.calls(prepared, memory, [call], query, out):
            each.run()
        return out

    def calls(
        self, prepared: Plan, memory: KVMemory, layers: list[LayerCall], query: torch.Tensor, out: torch.Tensor
    ) -> list[Call]:
        """The calls of kernels that put into ``out`` [rows, heads, value_size] what ``attend`` gives, for layers of a shape,
        one after another. A query's numbers stand side by side."""
        first = layers[0].layer
        shape = memory.layers[first]
        heads, rows, _ = query.shape
        padded = shape.value_panels * LANES
        whole = _Softmaxes(query, rows * heads, padded)
        turn = min(prepared.segments, max(1, STATE_BYTES // (4 * rows * heads * padded)))
        parts = _Softmaxes(query, turn * rows * heads, padded)
        kernels = attention_kernels(memory.keys[first].dtype)
        calls = []
        for begin in range(0, max(prepared.segments, 1), max(turn, 1)):
            end = min(begin + turn, prepared.segments)
            attended = _attend(prepared, memory, layers, query, parts, begin, end)
            values = (
                *(rows, heads, heads // shape.heads, shape.heads, shape.value_size, padded),
                *((end - begin) * rows, rows, begin, end),
                *(prepared.row_segments.ctypes.data, *parts.places, *whole.places, out),
            )
            calls += [kernels.call("attend", *attended), kernels.call("merge", *values)]
        return calls


class _Softmaxes:
    """Memory for softmaxes that are not yet divided: largest scores, sums of weights, weighted values."""

    def __init__(self, like: torch.Tensor, count: int, padded: int):
        self.places = like.new_empty(count), like.new_empty(count), like.new_empty(count * padded)


def _attend(
    plan: Plan,
    memory: KVMemory,
    layers: list[LayerCall],
    query: torch.Tensor,
    parts: _Softmaxes,
    first: int,
    last: int,
) -> tuple[Argument, ...]:
    """What ``attend`` is given: the softmaxes of all rows over each of the segments [first, last)."""
    first_layer = layers[0].layer
    keys, values, shape = memory.keys[first_layer], memory.values[first_layer], memory.layers[first_layer]
    key_heads, size, padded = shape.heads, shape.key_size, shape.value_panels * LANES
    heads, rows, _ = query.shape
    units, count = plan.units_of(first, last)
    room = scratch_size(size, padded)
    return (
        *(count * key_heads, 0, query.new_empty(torch.get_num_threads() * room), room),
        *(query, query.stride(0), query.stride(1)),
        *(_each(memory.keys[call.layer].data_ptr() for call in layers), keys.stride(0)),
        *(_each(memory.values[call.layer].data_ptr() for call in layers), values.stride(0)),
        *(int(memory.block_size % LANES == 0), size, padded, heads // key_heads, key_heads, units, *plan.addresses),
        *((last - first) * rows, first, rows, *parts.places),
        _each(UNBOUNDED if call.window is None else call.window for call in layers),
        _each(_bits(call.scaling) for call in layers),
        _each(_bits(call.softcap or 0.0) for call in layers),
    )


def _each(values: Iterable[int]) -> Argument:
    """A number for each layer, or the only one."""
    numbers = list(values)
    return numbers[0] if len(numbers) == 1 else np.array(numbers, np.int64)


def _bits(number: float) -> int:
    """Those of a float32."""
    return int(struct.unpack("<i", struct.pack("<f", number))[0])
