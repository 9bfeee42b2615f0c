"""Who reads which tile: the plan of a step's attention, made once for all layers.

A tile is 256 consecutive positions of a sequence, whatever step computes them and whoever shares them. Sequences whose
tables name the same blocks for a tile are its readers together, so nested sharing (a system prompt, then a document, then
one's own turn) comes out as longer and shorter lists of readers, tile by tile.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from foreword.engine.attention.base import Span
from foreword.engine.memory import KVMemory

TILE = 256
SHORT_LENGTHS = (64, 128, TILE)
"""How much of a partly seen tile is read; the kernels give the same bits for each of these lengths."""
ROW_STEP = 4
"""Rows of a product are a multiple of this; the libraries take other paths for 1 to 3 rows."""
PAGE = 32
"""Tiles whose partial results are held together."""
FEW_ROWS = 64
"""Gathered tiles with fewer rows than this are read side by side in one product."""
MAX_GATHERED = 8 * TILE
"""Positions that are gathered for such a product; a few MiB, so that they stay in the processor's cache."""

Ids = npt.NDArray[np.int64]


@dataclass
class Readers:
    """Who reads one tile: row ranges of the batch (begin, end, position of the first)."""

    blocks: npt.NDArray[np.int32]
    filled: int = 0
    """Leading positions of the tile that hold tokens."""
    ranges: list[tuple[int, int, int]] = field(default_factory=list)

    def split(self, begin: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """The rows that see all of the tile that begins at position ``begin``, and those that are within it."""
        last = begin + TILE - 1
        whole, within = [], []
        for row, end, position in self.ranges:
            cut = min(end, row + max(0, last - position))
            if row < cut:
                within.append((row, cut, position))
            if cut < end:
                whole.append((cut, end, position + cut - row))
        return whole, within


Mask = tuple[torch.Tensor, torch.Tensor | None]


@dataclass
class Part:
    """One product of rows with tiles: neighbouring tiles that the same rows read, or tiles that each have rows of their own.

    rows
        Rows of the product to read: [count], or [tiles × count] where each tile has its own. The count is padded to a
        multiple of ROW_STEP. A slice where the rows are neighbours and need no padding.
    positions
        Of the rows: int64 [1 or tiles, count]; -1 is padding, which comes last.
    slots
        The tiles' slots of KV memory: a slice, or int64 [tiles, TILE].
    length
        How much of each tile has to be read, when it is gathered.
    within
        Whether some row does not see all of its tiles, windows aside.
    """

    numbers: Ids
    """The tiles' numbers in their sequences."""
    rows: torch.Tensor | slice
    positions: torch.Tensor
    slots: torch.Tensor | slice
    length: int
    within: bool
    kept: torch.Tensor | slice
    """The batch rows without the padding, which comes last; where each tile has its own, those of all tiles."""
    real: torch.Tensor | None = None
    """Where each tile has rows of its own: which of tiles × count rows are no padding."""
    target: torch.Tensor | None = None
    """Where each tile has rows of its own: where these belong among [PAGE, rows of the batch], flattened."""
    masks: dict[tuple[int | None, int, int], Mask | None] = field(default_factory=dict)

    def unseen(self, window: int | None) -> int:
        """How many leading tiles no row sees any of."""
        if window is None:
            return 0
        ends = (self.numbers + 1) * TILE
        oldest = int(self.positions[self.positions >= 0].min())
        if self.real is not None:  # rows of their own: all tiles or none
            return len(ends) if bool((oldest - ends >= window - 1).all()) else 0
        return int((oldest - ends >= window - 1).sum())

    def mask(self, window: int | None, skip: int, length: int) -> Mask | None:
        """What the rows must not see of the tiles from ``skip`` on: float32 [tiles, 1, count, length] of 0 and -inf, and
        the rows that see nothing of a tile (bool [tiles, 1, count]; None: there are none). None: everything is seen."""
        key = (window, skip, length)
        if key not in self.masks:
            self.masks[key] = self._make_mask(window, torch.from_numpy(self.numbers[skip:]) * TILE, length)
        return self.masks[key]

    def _make_mask(self, window: int | None, begins: torch.Tensor, length: int) -> Mask | None:
        if not self.within and (window is None or int(self.positions.max() - begins.min()) < window):
            return None
        at = begins[:, None, None] + torch.arange(length)
        positions = self.positions[:, :, None]
        hidden = at > positions
        if window is not None:
            hidden |= positions - at >= window
        blind = hidden.all(-1)
        mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
        return mask.unsqueeze(1), blind.unsqueeze(1) if bool(blind.any()) else None


def find_readers(spans: list[Span], memory: KVMemory) -> list[list[Readers]]:
    """The readers of each tile: tile numbers ascending, in each the sets of blocks that sequences have for it."""
    per_tile = TILE // memory.block_size
    tiles: list[dict[bytes, Readers]] = [{} for _ in range(max((-(-s.end // TILE) for s in spans), default=0))]
    for span in spans:
        for number in range(-(-span.end // TILE)):
            begin = number * TILE
            blocks = span.table[number * per_tile : (number + 1) * per_tile]
            blocks = blocks[: -(-(span.end - begin) // memory.block_size)]
            readers = tiles[number].setdefault(blocks.tobytes(), Readers(blocks))
            readers.filled = max(readers.filled, min(span.end - begin, TILE))
            first = max(span.start, begin)
            readers.ranges.append((span.row + first - span.start, span.row + span.end - span.start, first))
    return [list(by_blocks.values()) for by_blocks in tiles]


@dataclass
class _Piece:
    """Some readers' rows of one tile, as rows of a product (batch row * group + head in the group)."""

    number: int
    readers: Readers
    ranges: list[tuple[int, int, int]]
    within: bool
    group: int

    def flat(self) -> tuple[Ids, Ids]:
        """The rows and their positions."""
        rows = np.concatenate([np.arange(begin * self.group, end * self.group) for begin, end, _ in self.ranges])
        at = [np.repeat(np.arange(first, first + end - begin), self.group) for begin, end, first in self.ranges]
        return rows, np.concatenate(at)

    @property
    def count(self) -> int:
        return sum(end - begin for begin, end, _ in self.ranges) * self.group

    @property
    def length(self) -> int:
        """How much of the tile has to be read."""
        if not self.within:
            return TILE
        seen = max(first + end - begin for begin, end, first in self.ranges) - self.number * TILE
        return next(length for length in SHORT_LENGTHS if seen <= length)


class Pages:
    """The parts of a step, page by page, in an order in which every row meets its tiles ascending."""

    def __init__(self, tiles: list[list[Readers]], rows: int, group: int, memory: KVMemory):
        self.rows = rows * group
        self.group = group
        self.memory = memory
        self.pages = [self._page(tiles, begin) for begin in range(0, len(tiles), PAGE)]

    def _page(self, tiles: list[list[Readers]], begin: int) -> list[Part]:
        """Whole tiles first, by number; then the tiles that rows are within, which are the last of these rows."""
        tails: list[_Piece] = []
        open_runs: dict[tuple[object, ...], Part] = {}
        parts: list[Part] = []
        for number in range(begin, min(begin + PAGE, len(tiles))):
            runs: dict[tuple[object, ...], Part] = {}
            few: list[_Piece] = []
            for readers in tiles[number]:
                whole, within = readers.split(number * TILE)
                if within:
                    tails.append(_Piece(number, readers, within, True, self.group))
                if not whole:
                    continue
                piece, slots = _Piece(number, readers, whole, False, self.group), self._run(readers)
                last = open_runs.get(tuple(whole))
                if slots is not None and last is not None and last.slots.stop == slots.start:  # type: ignore[union-attr]
                    last.slots = slice(last.slots.start, slots.stop)  # type: ignore[union-attr]
                    last.numbers = np.append(last.numbers, number)
                    runs[tuple(whole)] = last
                elif slots is not None:
                    runs[tuple(whole)] = part = self._large(piece, slots)
                    parts.append(part)
                else:
                    few.append(piece)
            open_runs = runs
            parts += self._gathered(few)
        return parts + self._gathered(tails)

    def _run(self, readers: Readers) -> slice | None:
        """The slots of a tile that is full and whose blocks are neighbours."""
        blocks = readers.blocks
        if readers.filled < TILE or not (len(blocks) == 1 or bool((np.diff(blocks) == 1).all())):
            return None
        start = int(blocks[0]) * self.memory.block_size
        return slice(start, start + TILE)

    def _gathered(self, pieces: list[_Piece]) -> list[Part]:
        """Products of tiles that are no views, those with few rows side by side; their rows must differ."""
        parts: list[Part] = []
        alike: dict[tuple[int, int], list[_Piece]] = {}
        for piece in pieces:
            width = max(ROW_STEP, 1 << (piece.count - 1).bit_length())
            alike.setdefault((piece.length, width), []).append(piece)
        for (length, width), some in sorted(alike.items()):
            if len(some) == 1 or width > FEW_ROWS:
                parts += [self._large(piece, self._run(piece.readers) or self._numbers(piece.readers)) for piece in some]
                continue
            tiles = MAX_GATHERED // length
            parts += [self._side_by_side(some[at : at + tiles], length, width) for at in range(0, len(some), tiles)]
        return parts

    def _large(self, piece: _Piece, slots: Ids | slice) -> Part:
        """One tile, to which more may be joined, with all its rows."""
        rows, positions = piece.flat()
        padding = -len(rows) % ROW_STEP
        padded = torch.from_numpy(np.append(rows, np.full(padding, rows[-1])))
        kept: torch.Tensor | slice = torch.from_numpy(rows)
        if bool((np.diff(rows) == 1).all()):
            kept = slice(int(rows[0]), int(rows[-1]) + 1)
        return Part(
            numbers=np.array([piece.number]),
            rows=kept if isinstance(kept, slice) and not padding else padded,
            positions=torch.from_numpy(np.append(positions, np.full(padding, -1)))[None],
            slots=slots if isinstance(slots, slice) else torch.from_numpy(slots)[None],
            length=piece.length,
            within=piece.within,
            kept=kept,
        )

    def _side_by_side(self, pieces: list[_Piece], length: int, width: int) -> Part:
        """Tiles with rows of their own, padded to ``width``."""
        rows = np.zeros((len(pieces), width), np.int64)
        positions = np.full((len(pieces), width), -1, np.int64)
        for index, piece in enumerate(pieces):
            own, at = piece.flat()
            rows[index, : len(own)], positions[index, : len(own)] = own, at
        numbers, real = np.array([piece.number for piece in pieces]), positions >= 0
        return Part(
            numbers=numbers,
            rows=torch.from_numpy(rows.reshape(-1)),
            positions=torch.from_numpy(positions),
            slots=torch.from_numpy(np.stack([self._numbers(piece.readers) for piece in pieces])),
            length=length,
            within=any(piece.within for piece in pieces),
            kept=torch.from_numpy(rows[real]),
            real=torch.from_numpy(np.flatnonzero(real)),
            target=torch.from_numpy((numbers[:, None] % PAGE * self.rows + rows)[real]),
        )

    def _numbers(self, readers: Readers) -> Ids:
        """int64 [TILE]; positions without a token point at zeros, never at what another sequence left behind."""
        size = self.memory.block_size
        numbers = np.full(TILE, self.memory.zero_slot, np.int64)
        slots = (readers.blocks[:, None].astype(np.int64) * size + np.arange(size)).reshape(-1)
        numbers[: readers.filled] = slots[: readers.filled]
        return numbers
