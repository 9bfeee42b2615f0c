"""Bit-identical attention: tiles of KV at absolute positions, each read once for the rows of a unit that share it.

The work is done by kernels/attention.py; what it goes through is planned by tiles.py. What a row gets depends on nothing but
the row and its own keys and values, so chunks, batch mates and cached prefixes change no bit.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from foreword.backends.base import LayerCall, Span
from foreword.backends.cpu.attention.tiles import Plan, make_plan
from foreword.backends.cpu.kernels.attention import ATTEND, attention_kernels, scratch_size
from foreword.backends.cpu.kernels.compiler import Call, Kernel
from foreword.backends.cpu.kernels.ir_builder import LANES, LOG2_E
from foreword.backends.cpu.kernels.signature import Argument
from foreword.backends.cpu.kernels.softmax import MERGE
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kv_memory import PanelMemory, value_panels
from foreword.backends.whole_vectors import in_whole_vectors

UNBOUNDED = 2**40
STATE_BYTES = 64 * 2**20
"""Partial results that are held at a time; the segments of a long context are gone through in turns."""


class TiledAttention:
    """See Attention and the module's docstring."""

    name = "tiled"
    bit_identical = True

    def __init__(self, target: Target, state_bytes: int = STATE_BYTES):
        self._target = target
        self._state_bytes = state_bytes

    def prepare(self, spans: list[Span], rows: int, memory: PanelMemory) -> Plan:
        """The step's plan of tiles."""
        return make_plan(spans, rows, memory)

    def attend(self, prepared: Plan, memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        """See Attention."""
        if query.stride(-1) != 1:
            query = query.contiguous()
        heads, rows, _ = query.shape
        out = query.new_empty(rows, heads, memory.layers[call.layer].value_size)
        whole = _softmaxes(memory, call, query)
        for each in self._calls(prepared, TiledLayers(memory, [call]), query, whole, out):
            each.run()
        return out if call.sinks is None else out.mul_(whole.share_beside(torch.tensor(call.sinks), heads))

    def calls(self, prepared: Plan, layers: "TiledLayers", query: torch.Tensor, out: torch.Tensor) -> list[Call]:
        """The calls of kernels that put into ``out`` [rows, heads, value_size] what ``attend`` gives, for layers of a shape
        and without sinks, one after another. A query's numbers stand side by side."""
        return self._calls(prepared, layers, query, _softmaxes(layers.memory, layers.first, query), out)

    def _calls(
        self, prepared: Plan, layers: "TiledLayers", query: torch.Tensor, whole: "_Softmaxes", out: torch.Tensor
    ) -> list[Call]:
        shape = layers.shape
        heads, rows, _ = query.shape
        padded = value_panels(shape) * LANES
        turn = min(prepared.segments, max(1, self._state_bytes // (4 * rows * heads * padded)))
        parts = _Softmaxes(query, turn * rows * heads, padded)
        kernels = attention_kernels(self._target, layers.dtype)
        calls = []
        for begin in range(0, max(prepared.segments, 1), max(turn, 1)):
            end = min(begin + turn, prepared.segments)
            merge = kernels[MERGE].call(
                items=rows,
                heads=heads,
                group=heads // shape.heads,
                value_size=shape.value_size,
                padded=padded,
                states=(end - begin) * rows,
                batch_rows=rows,
                first_segment=begin,
                last_segment=end,
                row_segments=prepared.row_segments.ctypes.data,
                largest=parts.largest,
                sums=parts.sums,
                totals=parts.totals,
                all_largest=whole.largest,
                all_sums=whole.sums,
                all_totals=whole.totals,
                out=out,
            )
            calls += [_attend(kernels[ATTEND], prepared, layers, query, parts, begin, end), merge]
        return calls


class TiledLayers:
    """Layers of one shape as a kernel is told of them: where their keys and values are, and what they ask of attention."""

    def __init__(self, memory: PanelMemory, layers: Sequence[LayerCall]):
        self.memory, self.first = memory, layers[0]
        numbers = [call.layer for call in layers]
        keys, values = memory.keys[numbers[0]], memory.values[numbers[0]]
        self.shape, self.dtype = memory.layers[numbers[0]], keys.dtype
        self.arguments: dict[str, Argument] = {
            "keys": _each(memory.keys[number].data_ptr() for number in numbers),
            "keys_head": keys.stride(0),
            "values": _each(memory.values[number].data_ptr() for number in numbers),
            "values_head": values.stride(0),
            "whole_panels": int(memory.block_size % LANES == 0),
            "key_heads": self.shape.heads,
            "window": _each(UNBOUNDED if call.window is None else call.window for call in layers),
            "scaling": _each(call.scaling * LOG2_E for call in layers),
            "softcap": _each((call.softcap or 0.0) * LOG2_E for call in layers),
        }


class _Softmaxes:
    """Memory for softmaxes that are not yet divided: largest scores (as logarithms to the base 2), sums of weights, weighted
    values."""

    def __init__(self, like: torch.Tensor, count: int, padded: int):
        self.largest, self.sums = like.new_empty(count), like.new_empty(count)
        self.totals = like.new_empty(count * padded)

    def share_beside(self, sinks: torch.Tensor, heads: int) -> torch.Tensor:
        """What is left of the weights beside ``sinks`` [heads]: [rows, heads, 1]. To be asked when all is done."""
        largest, sums = self.largest.view(-1, heads), self.sums.view(-1, heads)
        taken = in_whole_vectors(torch.exp2, sinks * LOG2_E - largest) / sums
        return (1.0 / (1.0 + taken))[..., None]


def _softmaxes(memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> _Softmaxes:
    """For all rows and heads of a layer, over all they see."""
    heads, rows, _ = query.shape
    return _Softmaxes(query, rows * heads, value_panels(memory.layers[call.layer]) * LANES)


def _attend(
    kernel: Kernel,
    plan: Plan,
    layers: TiledLayers,
    query: torch.Tensor,
    parts: _Softmaxes,
    first: int,
    last: int,
) -> Call:
    """The softmaxes of all rows over each of the segments [first, last)."""
    shape = layers.shape
    size, padded = shape.key_size, value_panels(shape) * LANES
    heads, rows, _ = query.shape
    units, count = plan.units_of(first, last)
    entries, plan_rows, slots = plan.addresses
    room = scratch_size(size, padded)
    return kernel.call(
        items=count * shape.heads,
        scratch=query.new_empty(torch.get_num_threads() * room),
        scratch_size=room,
        query=query,
        query_head=query.stride(0),
        query_row=query.stride(1),
        size=size,
        padded=padded,
        group=heads // shape.heads,
        units=units,
        entries=entries,
        rows=plan_rows,
        slots=slots,
        states=(last - first) * rows,
        first_segment=first,
        batch_rows=rows,
        largest=parts.largest,
        sums=parts.sums,
        totals=parts.totals,
        **layers.arguments,
    )


def _each(values: Iterable[float]) -> Argument:
    """A number for each layer, or the only one."""
    numbers = list(values)
    return numbers[0] if len(numbers) == 1 else np.array(numbers)
