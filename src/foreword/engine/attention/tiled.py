"""Bit-identical attention: tiles of KV at absolute positions, each read once for all who share it.

A tile is 256 consecutive positions of a sequence. A query row meets the tiles of its sequence in ascending order; each
gives a partial softmax (largest score, sum, weighted values), and the partial results are merged in that order. What a row
gets from a tile depends on nothing but the row and the tile:

- a tile is always 256 wide; positions beyond the sequence are zero and masked, so they add exactly nothing;
- a matrix product has at least 16 rows, because the libraries take other paths for few rows;
- a tile of which a row sees nothing leaves the row's merged result as it is, to the bit.

So chunks, batch mates and cached prefixes change no bit, and requests whose tables name the same blocks for a tile read
it together, in one matrix product.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from foreword.engine.attention.base import LayerCall, Span
from foreword.engine.memory import KVMemory

TILE = 256
MIN_ROWS = 16
NOTHING_SEEN = -1e30
"""Stands for the largest score of a row that sees nothing of a tile."""


@dataclass
class _Readers:
    """Who reads one tile: row ranges of the batch, each with the position of its first row."""

    blocks: npt.NDArray[np.int32]
    filled: int = 0
    """Leading positions of the tile that hold tokens."""
    ranges: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(end - begin for begin, end, _ in self.ranges)


@dataclass
class _Unit:
    """One product: tiles [batch, TILE] read by rows [batch, count]; a tile that is one run of slots is a slice."""

    slots: torch.Tensor | slice
    rows: torch.Tensor | slice
    positions: torch.Tensor
    """Of the rows, int64 [batch, count]."""
    real: torch.Tensor | None
    """Which of the batch * count rows are no padding; None: all."""
    oldest: int
    newest: int
    """Smallest and largest of the positions."""


@dataclass
class TilePlan:
    """What the layers of one step share. Query heads that share a key head are rows of one product, so the units depend
    on the size of that group; they are made when the first layer with it comes."""

    tiles: list[list[_Readers]]
    rows: int
    memory: KVMemory
    units: dict[int, list[list[_Unit]]] = field(default_factory=dict)


class TiledAttention:
    """See AttentionBackend and the module's docstring."""

    name = "tiled"
    bit_identical = True

    def prepare(self, spans: list[Span], rows: int, memory: KVMemory) -> TilePlan:
        per_tile = TILE // memory.block_size
        tiles: list[dict[bytes, _Readers]] = [{} for _ in range(max((-(-s.end // TILE) for s in spans), default=0))]
        for span in spans:
            for tile in range(-(-span.end // TILE)):
                begin = tile * TILE
                blocks = span.table[tile * per_tile : (tile + 1) * per_tile]
                blocks = blocks[: -(-(span.end - begin) // memory.block_size)]
                readers = tiles[tile].setdefault(blocks.tobytes(), _Readers(blocks))
                readers.filled = max(readers.filled, min(span.end - begin, TILE))
                first = max(span.start, begin)
                readers.ranges.append((span.row + first - span.start, span.row + span.end - span.start, first))
        return TilePlan([list(by_blocks.values()) for by_blocks in tiles], rows, memory)

    def attend(self, prepared: TilePlan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        keys, values = memory.keys[call.layer], memory.values[call.layer]
        heads, rows, size = query.shape
        shared = keys.shape[0]
        group = heads // shared
        query = query.view(shared, group, rows, size).transpose(1, 2).reshape(shared, rows * group, size)
        query = query * call.scaling
        if group not in prepared.units:
            prepared.units[group] = [_units(readers, group, memory) for readers in prepared.tiles]
        merged = _Merged(query, values.shape[-1])
        for tile, units in enumerate(prepared.units[group]):
            for unit in units:
                if call.window is None or unit.oldest - (tile + 1) * TILE < call.window:
                    _attend_unit(unit, tile, call, query, keys, values, merged)
        out = merged.values / merged.sums.clamp_min(1e-30).unsqueeze(-1)
        return out.view(shared, rows, group, -1).transpose(0, 1).reshape(rows, heads, -1)


class _Merged:
    """The rows' results over the tiles so far: largest score, sum of weights, weighted values."""

    def __init__(self, query: torch.Tensor, value_size: int):
        shared, rows, _ = query.shape
        self.largest = query.new_full((shared, rows), NOTHING_SEEN)
        self.sums = query.new_zeros(shared, rows)
        self.values = query.new_zeros(shared, rows, value_size)

    def add(self, rows: torch.Tensor | slice, largest: torch.Tensor, sums: torch.Tensor, values: torch.Tensor) -> None:
        """Merge a tile's partial result for some rows."""
        before = self.largest[:, rows]
        now = torch.maximum(before, largest)
        old, new = (before - now).exp_(), (largest - now).exp_()
        self.sums[:, rows] = self.sums[:, rows] * old + sums * new
        self.values[:, rows] = self.values[:, rows] * old.unsqueeze(-1) + values * new.unsqueeze(-1)
        self.largest[:, rows] = now


def _attend_unit(
    unit: _Unit,
    tile: int,
    call: LayerCall,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    merged: _Merged,
) -> None:
    """One product of rows with tiles, merged into the rows' results."""
    shared = query.shape[0]
    batch, count = unit.positions.shape
    rows = unit.rows if isinstance(unit.rows, slice) else unit.rows.view(-1)
    q = query[:, rows].reshape(shared * batch, count, -1)
    k = _read(keys, unit.slots, batch)
    scores = torch.bmm(q, k.transpose(1, 2))
    if call.softcap is not None:
        scores = scores.div_(call.softcap).tanh_().mul_(call.softcap)
    hidden = _hidden(unit, tile, call.window)
    if hidden is not None:
        scores.view(shared, batch, count, TILE).masked_fill_(hidden, float("-inf"))
    largest = scores.amax(-1).clamp_min_(NOTHING_SEEN)
    weights = scores.sub_(largest.unsqueeze(-1)).exp_()
    sums = weights.sum(-1).view(shared, batch * count)
    partial = torch.bmm(weights, _read(values, unit.slots, batch)).view(shared, batch * count, -1)
    largest = largest.view(shared, batch * count)
    if unit.real is not None:
        assert isinstance(rows, torch.Tensor)
        rows, largest, sums = rows[unit.real], largest[:, unit.real], sums[:, unit.real]
        partial = partial[:, unit.real]
    merged.add(rows, largest, sums, partial)


def _read(tensor: torch.Tensor, slots: torch.Tensor | slice, batch: int) -> torch.Tensor:
    """Tiles of keys or values as [heads * batch, TILE, size]; a view where the tile is a run of slots."""
    if isinstance(slots, slice):
        return tensor[:, slots]
    return tensor.index_select(1, slots).view(tensor.shape[0] * batch, TILE, -1)


def _hidden(unit: _Unit, tile: int, window: int | None) -> torch.Tensor | None:
    """Which scores [batch, count, TILE] a row must not see; None when it sees all."""
    begin = tile * TILE
    future = begin + TILE - 1 > unit.oldest
    past = window is not None and unit.newest - begin >= window
    if not (future or past):
        return None
    at = torch.arange(begin, begin + TILE)
    positions = unit.positions.unsqueeze(-1)
    hidden = at > positions
    if past:
        hidden |= positions - at >= window
    return hidden


def _units(readers: list[_Readers], group: int, memory: KVMemory) -> list[_Unit]:
    """The products of one round: tiles with many rows one by one, the others together."""
    few = [reader for reader in readers if reader.count * group < MIN_ROWS]
    units = [_large_unit(reader, group, memory) for reader in readers if reader.count * group >= MIN_ROWS]
    if len(few) == 1 and isinstance(_slots(few[0], memory), slice):
        units.append(_small_unit(few, group, _slots(few[0], memory)))
    elif few:
        tiles = [torch.from_numpy(_slot_numbers(reader, memory)) for reader in few]
        units.append(_small_unit(few, group, torch.cat(tiles)))
    return units


def _flat_rows(reader: _Readers, group: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the product (batch row * group + head in the group) and their positions."""
    rows = np.concatenate([np.arange(begin * group, end * group) for begin, end, _ in reader.ranges])
    positions = [np.repeat(np.arange(first, first + end - begin), group) for begin, end, first in reader.ranges]
    return rows, np.concatenate(positions)


def _large_unit(reader: _Readers, group: int, memory: KVMemory) -> _Unit:
    rows, positions = _flat_rows(reader, group)
    run = len(reader.ranges) == 1
    return _Unit(
        slots=_slots(reader, memory),
        rows=slice(int(rows[0]), int(rows[-1]) + 1) if run else torch.from_numpy(rows),
        positions=torch.from_numpy(positions)[None],
        real=None,
        oldest=int(positions.min()),
        newest=int(positions.max()),
    )


def _small_unit(few: list[_Readers], group: int, slots: torch.Tensor | slice) -> _Unit:
    """Tiles with less than MIN_ROWS rows each, padded to that number."""
    rows = np.zeros((len(few), MIN_ROWS), np.int64)
    positions = np.zeros((len(few), MIN_ROWS), np.int64)
    real = np.zeros((len(few), MIN_ROWS), bool)
    for index, reader in enumerate(few):
        own, at = _flat_rows(reader, group)
        rows[index, : len(own)] = own
        positions[index] = at[0]
        positions[index, : len(own)] = at
        real[index, : len(own)] = True
    return _Unit(
        slots=slots,
        rows=torch.from_numpy(rows),
        positions=torch.from_numpy(positions),
        real=torch.from_numpy(np.flatnonzero(real)),
        oldest=int(positions.min()),
        newest=int(positions.max()),
    )


def _slots(reader: _Readers, memory: KVMemory) -> torch.Tensor | slice:
    """The slots of a tile: a run when it is full and its blocks are neighbours, else numbers."""
    blocks = reader.blocks
    if reader.filled == TILE and (len(blocks) == 1 or bool((np.diff(blocks) == 1).all())):
        begin = int(blocks[0]) * memory.block_size
        return slice(begin, begin + TILE)
    return torch.from_numpy(_slot_numbers(reader, memory))


def _slot_numbers(reader: _Readers, memory: KVMemory) -> npt.NDArray[np.int64]:
    """int64 [TILE]; positions without a token point at zeros, never at what another sequence left behind."""
    numbers = np.full(TILE, memory.zero_slot, np.int64)
    offsets = np.arange(memory.block_size)
    slots = (reader.blocks[:, None].astype(np.int64) * memory.block_size + offsets).reshape(-1)
    numbers[: reader.filled] = slots[: reader.filled]
    return numbers
