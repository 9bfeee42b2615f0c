"""Bit-identical attention: tiles of KV at absolute positions, each read once for all who share it.

A query row meets the tiles of its sequence (tiles.py) one by one. Each gives a partial softmax: the weighted values and the
logarithm of the sum of weights. The partial results of a page of 32 tiles are scaled to the page's largest and added in
ascending order, then page is merged with page. What a row gets from a tile depends on nothing but the row and the tile:

- products have a multiple of 4 rows, and one of three lengths, for which the kernel gives the same bits;
- positions that a row must not see are masked, so they add exactly nothing;
- a tile of which a row sees nothing adds zero to the row's result;
- scaling and adding are separate operations, so that no element is rounded once instead of twice.

So chunks, batch mates and cached prefixes change no bit. The kernel is torch's flash attention for CPU, called with many
tiles side by side; it gives the logarithm of the sums, and keeps the scores in the processor's cache.
"""

from dataclasses import dataclass, field

import torch

from foreword.engine.attention.base import LayerCall, Span
from foreword.engine.attention.tiles import PAGE, TILE, Pages, Part, Readers, find_readers
from foreword.engine.memory import KVMemory

NOTHING_SEEN = -1e30
"""Stands for the logarithm of a sum of no weights."""


@dataclass
class TilePlan:
    """What the layers of one step share. Query heads that share a key head are rows of one product, so the parts depend
    on the size of that group; they are made when the first layer with it comes."""

    tiles: list[list[Readers]]
    rows: int
    memory: KVMemory
    pages: dict[int, Pages] = field(default_factory=dict)

    def for_group(self, group: int) -> Pages:
        if group not in self.pages:
            self.pages[group] = Pages(self.tiles, self.rows, group, self.memory)
        return self.pages[group]


class TiledAttention:
    """See AttentionBackend and the module's docstring."""

    name = "tiled"
    bit_identical = True
    joined = False
    """Whether neighbouring tiles of a run are one softmax, whose order of summation depends on how long the run is."""

    def prepare(self, spans: list[Span], rows: int, memory: KVMemory) -> TilePlan:
        return TilePlan(find_readers(spans, memory), rows, memory)

    def attend(self, prepared: TilePlan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        keys, values = memory.keys[call.layer], memory.values[call.layer]
        heads, rows, size = query.shape
        shared = keys.shape[0]
        group = heads // shared
        query = query.view(shared, group, rows, size).transpose(1, 2).reshape(shared, rows * group, size)
        total = None
        for parts in prepared.for_group(group).pages:
            page = _attend_page(parts, call, query, keys, values, self.joined)
            total = page if total is None else _merge(total, page)
        if total is None:
            return query.new_zeros(rows, heads, values.shape[-1])
        out = total.values.div_(total.sums.clamp_min_(1e-30).unsqueeze(-1))
        return out.view(shared, rows, group, -1).transpose(0, 1).reshape(rows, heads, -1)


class FlashAttention(TiledAttention):
    """The same, but a run of tiles that the same rows read is one softmax: a little faster, and a token's last bits depend
    on who shares its prefix."""

    name = "flash"
    bit_identical = False
    joined = True


@dataclass
class _Softmax:
    """A softmax that is not yet divided: largest and sums [heads, rows], values [heads, rows, size]."""

    largest: torch.Tensor
    sums: torch.Tensor
    values: torch.Tensor


def _merge(one: _Softmax, other: _Softmax) -> _Softmax:
    """Two of the same rows."""
    largest = torch.maximum(one.largest, other.largest)
    fade, gain = (one.largest - largest).exp_(), (other.largest - largest).exp_()
    sums = one.sums.mul_(fade).add_(other.sums.mul_(gain))
    values = one.values.mul_(fade.unsqueeze(-1)).add_(other.values.mul_(gain.unsqueeze(-1)))
    return _Softmax(largest, sums, values)


def _attend_page(
    parts: list[Part], call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, joined: bool
) -> _Softmax:
    """The rows' softmax over the tiles of one page."""
    shared, rows, _ = query.shape
    page = max((int(part.numbers.max()) for part in parts), default=0) % PAGE + 1
    logs = query.new_full((shared, page, rows), float("-inf"))
    results = []
    for part in parts:
        skip = part.unseen(call.window)
        if skip < len(part.numbers):
            out, log = _attend_part(part, skip, call, query, keys, values, joined)
            _store(part, skip, log, logs)
            results.append((part, skip, out))
    largest = logs.amax(1).clamp_min_(NOTHING_SEEN)
    weights = logs.sub_(largest.unsqueeze(1)).exp_()
    merged = _Softmax(largest, weights.cumsum(1)[:, -1].clone(), query.new_zeros(shared, rows, values.shape[-1]))
    for part, skip, out in results:
        _add(part, skip, out, weights, merged.values)
    return merged


def _store(part: Part, skip: int, log: torch.Tensor, logs: torch.Tensor) -> None:
    """Put a part's logarithms [tiles, heads, count] where they belong in [heads, tiles of the page, rows]."""
    shared = len(logs)
    if part.real is not None:
        assert part.target is not None
        logs.view(shared, -1).index_copy_(1, part.target, log.transpose(0, 1).reshape(shared, -1)[:, part.real])
        return
    first, real = int(part.numbers[skip]) % PAGE, log[:, :, : _count(part.kept)].transpose(0, 1)
    if isinstance(part.kept, slice):
        logs[:, first : first + len(log), part.kept] = real
    else:
        logs[:, first : first + len(log)].index_copy_(2, part.kept, real)


def _add(part: Part, skip: int, out: torch.Tensor, weights: torch.Tensor, total: torch.Tensor) -> None:
    """Add a part's values [tiles, heads, count, size], scaled, to the rows' totals, tile after tile."""
    shared, page, rows = weights.shape
    if part.real is not None:
        assert isinstance(part.kept, torch.Tensor)
        out = out.transpose(0, 1).reshape(shared, -1, out.shape[-1])[:, part.real]
        out.mul_(weights.view(shared, page * rows)[:, part.target].unsqueeze(-1))
        total.index_add_(1, part.kept, out)
        return
    first, out = int(part.numbers[skip]) % PAGE, out[:, :, : _count(part.kept)]
    out.mul_(weights[:, first : first + len(out), part.kept].transpose(0, 1).unsqueeze(-1))
    if isinstance(part.kept, slice):
        own = total[:, part.kept]
        for tile in out:
            own.add_(tile)
    else:
        for tile in out:
            total.index_add_(1, part.kept, tile)


def _count(rows: torch.Tensor | slice) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def _attend_part(
    part: Part,
    skip: int,
    call: LayerCall,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    joined: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax of rows over each tile from ``skip`` on, or over all of them joined: values [tiles, heads, count, size] and
    logarithms of the sums of weights [tiles, heads, count], -inf where a row sees nothing."""
    flash = call.softcap is None and keys.shape[-1] == values.shape[-1]
    length = part.length if flash and not isinstance(part.slots, slice) else TILE
    mask, blind = part.mask(call.window, skip, length) or (None, None)
    if joined and isinstance(part.slots, slice):
        length *= len(part.numbers) - skip
        if mask is not None:
            mask = mask.permute(1, 2, 0, 3).reshape(1, 1, -1, length)
            blind = None if blind is None else blind.all(0, keepdim=True)
    key, value = _read(keys, part, skip, length), _read(values, part, skip, length)
    q = query[:, part.rows].reshape(len(query), -1, part.positions.shape[1], query.shape[-1]).transpose(0, 1)
    if part.real is None:
        q = q.expand(len(key), -1, -1, -1)
    if flash:
        out, log = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, key, value, attn_mask=mask, scale=call.scaling
        )
    else:
        out, log = _softmax(q, key, value, call, mask)
    return out, log if blind is None else log.masked_fill(blind, float("-inf"))


def _softmax(
    q: torch.Tensor, key: torch.Tensor, value: torch.Tensor, call: LayerCall, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the kernel does, for layers that it does not do: soft caps, and values of another size than the keys."""
    scores = torch.matmul(q, key.transpose(-1, -2)).mul_(call.scaling)
    if call.softcap is not None:
        scores.div_(call.softcap).tanh_().mul_(call.softcap)
    if mask is not None:
        scores += mask
    largest = scores.amax(-1, keepdim=True).clamp_min_(NOTHING_SEEN)
    weights = scores.sub_(largest).exp_()
    sums = weights.sum(-1, keepdim=True)
    out = torch.matmul(weights, value).div_(sums.clamp_min(1e-30))
    return out, sums.log_().add_(largest).squeeze(-1)


def _read(tensor: torch.Tensor, part: Part, skip: int, length: int) -> torch.Tensor:
    """Keys or values as float32 [tiles, heads, length, size]; a view where they are a run of slots and kept in float32."""
    heads, _, size = tensor.shape
    if isinstance(part.slots, slice):
        tensor = tensor[:, part.slots.start + skip * TILE : part.slots.stop]
    else:
        tensor = tensor.index_select(1, part.slots[skip:, :length].reshape(-1))
    return tensor.float().view(heads, -1, length, size).transpose(0, 1)
