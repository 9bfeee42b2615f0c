"""Bit-identical attention: tiles of KV at absolute positions, each read once for the rows of a unit that share it.

The work is done by kernels/attention.py; what it goes through is planned by tiles.py. What a row gets depends on nothing but
the row and its own keys and values, so chunks, batch mates and cached prefixes change no bit.
"""

import struct

import torch

from foreword.engine.attention.base import LayerCall, Span
from foreword.engine.attention.tiles import Plan, make_plan
from foreword.engine.kernels.attention import attention_kernels, scratch_size
from foreword.engine.kernels.compiled import Kernels, arguments
from foreword.engine.kernels.emit import LANES
from foreword.engine.memory import KVMemory

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
        key_heads, _, value_size = memory.values[call.layer].shape
        heads, rows, _ = query.shape
        padded = -(-value_size // LANES) * LANES
        out = query.new_empty(rows, heads, value_size)
        whole = _Softmaxes(query, rows * heads, padded)
        turn = max(1, STATE_BYTES // (4 * rows * heads * padded))
        kernels = attention_kernels(memory.keys[call.layer].dtype)
        for first in range(0, max(prepared.segments, 1), turn):
            last = min(first + turn, prepared.segments)
            parts = _Softmaxes(query, (last - first) * rows * heads, padded)
            _attend(kernels, prepared, memory, call, query, parts, first, last)
            values = (
                *(rows, heads, heads // key_heads, key_heads, value_size, padded, (last - first) * rows, rows, first, last),
                *(prepared.row_segments.ctypes.data, *parts.addresses, *whole.addresses, out.data_ptr()),
            )
            kernels.run("merge", arguments(*values))
        return out


class _Softmaxes:
    """Memory for softmaxes that are not yet divided: largest scores, sums of weights, weighted values."""

    def __init__(self, like: torch.Tensor, count: int, padded: int):
        self.numbers = like.new_empty(count * (2 + padded))
        start = self.numbers.data_ptr()
        self.addresses = start, start + 4 * count, start + 8 * count


def _attend(
    kernels: Kernels,
    plan: Plan,
    memory: KVMemory,
    call: LayerCall,
    query: torch.Tensor,
    parts: _Softmaxes,
    first: int,
    last: int,
) -> None:
    """The softmaxes of all rows over each of the segments [first, last)."""
    keys, values = memory.keys[call.layer], memory.values[call.layer]
    key_heads, _, size = keys.shape
    heads, rows, _ = query.shape
    padded = -(-values.shape[-1] // LANES) * LANES
    units, count = plan.units_of(first, last)
    room = scratch_size(size, padded)
    scratch = query.new_empty(torch.get_num_threads() * room)
    scaling, softcap = struct.unpack("<2i", struct.pack("<2f", call.scaling, call.softcap or 0.0))
    given = (
        *(count * key_heads, 0, scratch.data_ptr(), room),
        *(query.data_ptr(), query.stride(0), query.stride(1)),
        *(keys.data_ptr(), keys.stride(0), values.data_ptr(), values.stride(0)),
        *(size, values.shape[-1], padded, heads // key_heads, key_heads, units, *plan.addresses),
        *((last - first) * rows, first, rows, *parts.addresses),
        *(UNBOUNDED if call.window is None else call.window, scaling, softcap),
    )
    kernels.run("attend", arguments(*given))
