"""Attention written down plainly: one softmax a request, everything gathered. Slow; the others are tested against it."""

import torch

from foreword.backends.base import KVMemory, LayerCall, Span, slots_of


class ReferenceAttention:
    """Plain attention over any KV memory; not bit-identical."""

    name = "reference"
    bit_identical = False

    def prepare(self, spans: list[Span], rows: int, memory: KVMemory) -> list[Span]:  # noqa: ARG002
        """The spans as they are."""
        return spans

    def attend(self, prepared: list[Span], memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        """See Attention."""
        shape = memory.layers[call.layer]
        heads, rows, _ = query.shape
        group = heads // shape.heads
        out = query.new_zeros(rows, heads, shape.value_size)
        for span in prepared:
            count = span.end - span.start
            slots = slots_of([Span(0, 0, span.end, span.table)], memory.block_size)
            k, v = (part.float().repeat_interleave(group, 0) for part in memory.read(call.layer, slots))
            scores = query[:, span.row : span.row + count] @ k.transpose(1, 2) * call.scaling
            if call.softcap is not None:
                scores = torch.tanh(scores / call.softcap) * call.softcap
            row, at = torch.arange(span.start, span.end)[:, None], torch.arange(span.end)
            hidden = at[None, :] > row
            if call.window is not None:
                hidden |= row - at[None, :] >= call.window
            scores = scores.masked_fill(hidden, float("-inf"))
            if call.sinks is not None:
                sinks = torch.tensor(call.sinks)[:, None, None].expand(-1, count, 1)
                scores = torch.cat([scores, sinks], -1)
            weights = scores.softmax(-1)[..., : span.end]
            out[span.row : span.row + count] = (weights @ v).transpose(0, 1)
        return out
