"""Who reads which tile: the plan of a step's attention, made once for all layers.

A tile is 256 consecutive positions of a sequence, whatever step computes them and whoever shares them. Sequences whose
tables name the same blocks for a tile read it together, so nested sharing (a system prompt, then a document, then one's own
turn) comes out as longer and shorter lists of readers, tile by tile.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foreword.backends.base import KVMemory, Span
from foreword.backends.cpu.kernels.attention import ENTRY, ROW, UNIT
from foreword.backends.cpu.kernels.softmax import TILE

SEGMENT = 4 * TILE
"""Positions that a unit of work goes through in one go."""
UNIT_ROWS = 64
"""Rows of the batch in a unit of work: a tile is read once for all of them that share it."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """The tables that kernels/attention.py works through. Int64, but for the slots."""

    units: Ids
    """[units, UNIT], by segment."""
    entries: Ids
    """[entries, ENTRY]: a tile, and the rows of a unit that read it."""
    rows: Ids
    """[..., ROW]: a row of the batch and its position in its sequence."""
    slots: npt.NDArray[np.int32]
    """[..., TILE]: where a tile's keys and values are."""
    row_segments: Ids
    """[rows]: up to which segment a row of the batch sees; 0 for padding."""

    @cached_property
    def segments(self) -> int:
        """Segments of the row that sees most."""
        return int(self.row_segments.max(initial=0))

    @cached_property
    def addresses(self) -> tuple[int, int, int]:
        """Of the entries, the rows and the slots."""
        return self.entries.ctypes.data, self.rows.ctypes.data, self.slots.ctypes.data

    def units_of(self, first: int, last: int) -> tuple[int, int]:
        """The units of segments [first, last): the address of the first, and how many."""
        begin, end = self.segment_units[first], self.segment_units[last]
        return self.units.ctypes.data + begin * self.units.itemsize * len(UNIT), end - begin

    @cached_property
    def segment_units(self) -> list[int]:
        """Where the units of each segment begin, and behind the last."""
        return np.searchsorted(self.units[:, UNIT.index("segment")], np.arange(self.segments + 1)).tolist()  # type: ignore[no-any-return]


def make_plan(spans: list[Span], rows: int, memory: KVMemory) -> Plan:
    """The plan for a batch of ``rows`` rows, of which the spans' come first, in order."""
    tables = _Tables(memory)
    row_segments = np.zeros(rows, np.int64)
    for span in spans:
        row_segments[span.row : span.row + span.end - span.start] = np.arange(span.start, span.end) // SEGMENT + 1
    last_row = max((span.row + span.end - span.start for span in spans), default=0)
    for first in range(0, last_row, UNIT_ROWS):
        tables.add_rows(spans, first, min(first + UNIT_ROWS, last_row))
    return tables.plan(row_segments)


@dataclass
class _Tables:
    """The plan's tables while they grow."""

    memory: KVMemory
    units: list[tuple[int, ...]] = field(default_factory=list)
    entries: list[tuple[int, ...]] = field(default_factory=list)
    rows: list[Ids] = field(default_factory=list)
    row_count: int = 0
    readers: dict[tuple[tuple[int, int, int], ...], tuple[int, int, int]] = field(default_factory=dict)
    """Row ranges (begin, end, position of the first): where they are in the table of rows, how many, the lowest position."""
    slots: list[npt.NDArray[np.int32]] = field(default_factory=list)
    tiles: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """Blocks of a tile and how much is filled: where its slots are in the table."""

    def add_rows(self, spans: list[Span], first: int, last: int) -> None:
        """Rows [first, last) of the batch: a unit for each segment that some of them see."""
        pieces = []
        for span in spans:
            begin, end = max(first, span.row), min(last, span.row + span.end - span.start)
            if begin < end:
                pieces.append((begin, end, span.start + begin - span.row, span.table.tobytes()))
        longest = max(position + end - begin for begin, end, position, _ in pieces)
        for segment in range(-(-longest // SEGMENT)):
            entry = len(self.entries)
            for at in range(segment * SEGMENT, min((segment + 1) * SEGMENT, longest), TILE):
                self._add_tile(pieces, at)
            self.units.append((entry, len(self.entries), first, last, segment))

    def _add_tile(self, pieces: list[tuple[int, int, int, bytes]], at: int) -> None:
        """The tile at position ``at``: an entry for each set of blocks that sequences have for it."""
        readers: dict[bytes, tuple[int, list[tuple[int, int, int]]]] = {}
        size = self.memory.block_size
        for row, end, position, table in pieces:
            begin = row + max(at - position, 0)
            if begin < end:
                filled = min(position + end - row - at, TILE)
                blocks = table[4 * (at // size) : -4 * (-(at + filled) // size)]
                most, ranges = readers.get(blocks, (0, []))
                ranges.append((begin, end, max(position, at)))
                readers[blocks] = max(most, filled), ranges
        for blocks, (filled, ranges) in readers.items():
            first, count, lowest = self._readers(tuple(ranges))
            self.entries.append((at, self._tile(blocks, filled), filled, first, count, lowest))

    def _readers(self, ranges: tuple[tuple[int, int, int], ...]) -> tuple[int, int, int]:
        if ranges not in self.readers:
            rows = np.concatenate([np.arange(begin, end) for begin, end, _ in ranges])
            at = np.concatenate([np.arange(first, first + end - begin) for begin, end, first in ranges])
            self.readers[ranges] = self.row_count, len(rows), int(at.min())
            self.rows.append(np.stack([rows, at], 1))
            self.row_count += len(rows)
        return self.readers[ranges]

    def _tile(self, blocks: bytes, filled: int) -> int:
        if (blocks, filled) not in self.tiles:
            size = self.memory.block_size
            slots = np.zeros(TILE, np.int32)
            ids = np.frombuffer(blocks, np.int32)
            slots[:filled] = (ids[:, None] * size + np.arange(size, dtype=np.int32)).reshape(-1)[:filled]
            self.tiles[blocks, filled] = len(self.slots) * TILE
            self.slots.append(slots)
        return self.tiles[blocks, filled]

    def plan(self, row_segments: Ids) -> Plan:
        units = np.array(self.units, np.int64).reshape(-1, len(UNIT))
        return Plan(
            units=units[np.argsort(units[:, UNIT.index("segment")], kind="stable")],
            entries=np.array(self.entries, np.int64).reshape(-1, len(ENTRY)),
            rows=np.concatenate([*self.rows, np.empty((0, len(ROW)), np.int64)]),
            slots=np.concatenate([*self.slots, np.empty(0, np.int32)]),
            row_segments=row_segments,
        )
