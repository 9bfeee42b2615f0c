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
MAX_ROWS = 256
"""Rows of a product; more are split, so that the scores stay in the processor's cache."""
MAX_GATHERED = 8
"""Tiles that are gathered for one product, for the same reason."""
MAX_JOINED = 128
"""Rows times tiles of a product over several neighbouring tiles, for the same reason."""
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
    """One product: tiles [batch, TILE] read by rows [batch, count]; a tile that is one run of slots is a slice.

    Neighbouring tiles that are one run of slots and have the same readers are joined: then the slice has several tiles.
    """

    slots: torch.Tensor | slice
    rows: torch.Tensor | slice
    count: int
    positions: torch.Tensor
    """Of the rows that are no padding in at least one tile: int64 [batch, used], where used is at most count."""
    real: torch.Tensor | None
    """Which of the batch * used rows are no padding; None: all."""
    kept: torch.Tensor | slice
    """The real ones of ``rows``."""
    oldest: int
    newest: int
    """Smallest and largest of the positions."""
    readers: tuple[object, ...]
    """Equal where the rows and their positions are."""
    tiles: int = 1


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
            prepared.units[group] = _joined([_units(readers, group, memory) for readers in prepared.tiles])
        merged = _Merged(query, values.shape[-1])
        for tile, units in enumerate(prepared.units[group]):
            for unit in units:
                if call.window is None or unit.oldest - (tile + unit.tiles) * TILE < call.window:
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

    def add(self, rows: torch.Tensor | slice, largest: torch.Tensor, sums: torch.Tensor, parts: list[torch.Tensor]) -> None:
        """Merge the partial results of some rows, tile after tile: largest and sums [heads, rows, tiles], parts a tile."""
        now = torch.cat([self.largest[:, rows].unsqueeze(-1), largest], -1)
        if now.shape[-1] == 2:
            torch.maximum(now[..., 0], now[..., 1], out=now[..., 1])
        else:
            now = now.cummax(-1).values
        old, new = (now[..., :-1] - now[..., 1:]).exp_(), largest.sub_(now[..., 1:]).exp_()
        total, values = self.sums[:, rows], self.values[:, rows]
        sums.mul_(new)
        for tile, part in enumerate(parts):
            fade = old[..., tile]
            total.mul_(fade).add_(sums[..., tile])
            values.mul_(fade.unsqueeze(-1)).add_(part.mul_(new[..., tile].unsqueeze(-1)))
        self.largest[:, rows] = now[..., -1]
        if not isinstance(rows, slice):
            self.sums[:, rows], self.values[:, rows] = total, values


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
    batch, used = unit.positions.shape
    q = query[:, unit.rows].reshape(shared * batch, unit.count, -1)
    scores = torch.bmm(q, _read(keys, unit.slots, batch).transpose(1, 2))
    seen = scores.view(shared * batch, unit.count, unit.tiles, TILE)[:, :used]
    if call.softcap is not None:
        seen.div_(call.softcap).tanh_().mul_(call.softcap)
    hidden = _hidden(unit, tile, call.window)
    if hidden is not None:
        seen.view(shared, batch, used, unit.tiles, TILE).masked_fill_(hidden, float("-inf"))
    largest = seen.amax(-1).clamp_min_(NOTHING_SEEN)
    seen.sub_(largest.unsqueeze(-1)).exp_()
    sums = seen.sum(-1).view(shared, batch * used, unit.tiles)
    largest = largest.view(shared, batch * used, unit.tiles)
    value = _read(values, unit.slots, batch)
    parts = [
        torch.bmm(scores[..., at : at + TILE], value[:, at : at + TILE])[:, :used].reshape(shared, batch * used, -1)
        for at in range(0, unit.tiles * TILE, TILE)
    ]
    if unit.real is not None:
        largest, sums = largest[:, unit.real], sums[:, unit.real]
        parts = [part[:, unit.real] for part in parts]
    merged.add(unit.kept, largest, sums, parts)


def _read(tensor: torch.Tensor, slots: torch.Tensor | slice, batch: int) -> torch.Tensor:
    """Tiles of keys or values as [heads * batch, TILE, size]; a view where the tile is a run of slots."""
    if isinstance(slots, slice):
        return tensor[:, slots]
    return tensor.index_select(1, slots).view(tensor.shape[0] * batch, TILE, -1)


def _hidden(unit: _Unit, tile: int, window: int | None) -> torch.Tensor | None:
    """Which scores [batch, used, tiles, TILE] a row must not see; None when it sees all."""
    begin = tile * TILE
    if window is None or unit.newest - begin < window:
        window = None
        if begin + unit.tiles * TILE - 1 <= unit.oldest:
            return None
    at = torch.arange(begin, begin + unit.tiles * TILE).view(unit.tiles, TILE)
    positions = unit.positions[..., None, None]
    hidden = at > positions
    if window is not None:
        hidden |= positions - at >= window
    return hidden


def _joined(rounds: list[list[_Unit]]) -> list[list[_Unit]]:
    """The rounds with runs of tiles that the same rows read joined into one product, in the round of the first."""
    out: list[list[_Unit]] = []
    before: dict[tuple[object, ...], _Unit] = {}
    for units in rounds:
        kept, now = [], {}
        for unit in units:
            last = before.get(unit.readers)
            if last is not None and (run := _run_on(last, unit)) is not None:
                last.slots = run
                last.tiles += 1
                now[unit.readers] = last
            else:
                kept.append(unit)
                now[unit.readers] = unit
        out.append(kept)
        before = now
    return out


def _run_on(last: _Unit, unit: _Unit) -> slice | None:
    """The slots of both where a tile can be joined to the ones before."""
    if not (isinstance(last.slots, slice) and isinstance(unit.slots, slice)):
        return None
    if last.slots.stop != unit.slots.start or (last.tiles + 1) * unit.count > MAX_JOINED:
        return None
    return slice(last.slots.start, unit.slots.stop)


def _units(readers: list[_Readers], group: int, memory: KVMemory) -> list[_Unit]:
    """The products of one round: tiles with many rows one by one, the others together."""
    few = [reader for reader in readers if reader.count * group < MIN_ROWS]
    units = [unit for reader in readers if reader.count * group >= MIN_ROWS for unit in _large_units(reader, group, memory)]
    if len(few) == 1 and isinstance(_slots(few[0], memory), slice):
        return [*units, _small_unit(few, group, _slots(few[0], memory))]
    for first in range(0, len(few), MAX_GATHERED):
        some = few[first : first + MAX_GATHERED]
        tiles = [torch.from_numpy(_slot_numbers(reader, memory)) for reader in some]
        units.append(_small_unit(some, group, torch.cat(tiles)))
    return units


def _flat_rows(reader: _Readers, group: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the product (batch row * group + head in the group) and their positions."""
    rows = np.concatenate([np.arange(begin * group, end * group) for begin, end, _ in reader.ranges])
    positions = [np.repeat(np.arange(first, first + end - begin), group) for begin, end, first in reader.ranges]
    return rows, np.concatenate(positions)


def _run(rows: npt.NDArray[np.int64]) -> torch.Tensor | slice:
    """Rows as a slice where they are neighbours."""
    if bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(rows)


def _large_units(reader: _Readers, group: int, memory: KVMemory) -> list[_Unit]:
    """Products of one tile with MIN_ROWS to MAX_ROWS rows each."""
    slots, (all_rows, all_positions) = _slots(reader, memory), _flat_rows(reader, group)
    parts, units = -(-len(all_rows) // MAX_ROWS), []
    split = zip(np.array_split(all_rows, parts), np.array_split(all_positions, parts), strict=True)
    for number, (rows, positions) in enumerate(split):
        run = _run(rows)
        units.append(
            _Unit(
                slots=slots,
                rows=run,
                count=len(rows),
                positions=torch.from_numpy(positions)[None],
                real=None,
                kept=run,
                oldest=int(positions.min()),
                newest=int(positions.max()),
                readers=(number, *reader.ranges),
            )
        )
    return units


def _small_unit(few: list[_Readers], group: int, slots: torch.Tensor | slice) -> _Unit:
    """Tiles with less than MIN_ROWS rows each, padded to that number."""
    used = max(reader.count for reader in few) * group
    rows = np.zeros((len(few), MIN_ROWS), np.int64)
    positions = np.zeros((len(few), used), np.int64)
    real = np.zeros((len(few), used), bool)
    for index, reader in enumerate(few):
        own, at = _flat_rows(reader, group)
        rows[index, : len(own)] = own
        positions[index] = at[0]
        positions[index, : len(own)] = at
        real[index, : len(own)] = True
    return _Unit(
        slots=slots,
        rows=torch.from_numpy(rows.reshape(-1)),
        count=MIN_ROWS,
        positions=torch.from_numpy(positions),
        real=None if real.all() else torch.from_numpy(np.flatnonzero(real)),
        kept=_run(rows[:, :used][real]),
        oldest=int(positions.min()),
        newest=int(positions.max()),
        readers=tuple(entry for reader in few for entry in reader.ranges),
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
