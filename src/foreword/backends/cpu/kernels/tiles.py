"""How a product of whole numbers is gone through: tiles of some rows and some vectors of outputs, as registers hold them."""

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import Builder, int64
from foreword.backends.cpu.kernels.target import Target

PANEL = 16
"""Outputs whose weights stand side by side."""
TOGETHER = 2
"""Panels that several rows are multiplied with side by side, for they share what is made of a row."""
FEW_ROWS = 16
"""So many take less time than their weights take to come from memory, which is read fastest in one stream that goes on."""
TURNS, LONG = 4, 16
"""Where rows are few: units of work for each thread at least, and pairs of panels that are a long stream."""


@dataclass(frozen=True)
class Tile:
    """Rows, panels (from as many streams of memory), and vectors of outputs of each panel."""

    rows: int
    panels: int
    parts: int

    @property
    def strips(self) -> list[tuple[int, int]]:
        """Vectors of outputs: the panel, and the vector in it."""
        return [(panel, part) for part in range(self.parts) for panel in range(self.panels)]


def panels_of(out_features: int) -> int:
    """How many panels so many outputs fill, the last perhaps in part."""
    return -(-out_features // PANEL)


def items_of(panels: int, rows: int, threads: int) -> int:
    """Units of work: runs of panels that lie side by side, with all rows. Of few rows they get shorter one by one (trapezoid
    self-scheduling, Tzen and Ni 1993): streams are long, and in the end no thread waits long for another."""
    pairs = -(-panels // TOGETHER)
    return pairs if rows >= FEW_ROWS else min(pairs, max(TURNS * threads, pairs // LONG))


class Tiles:
    """The products of a kernel, by the rows and vectors that each takes: the most rows first, one row last."""

    def __init__(self, target: Target, tiles: tuple[Tile, ...], define: Callable[[Tile], ir.Function]):
        """``define`` makes the product of a tile."""
        self._tiles = tiles
        self._parts = PANEL // target.lanes
        alone = [Tile(tile.rows, 1, tile.parts) for tile in tiles]
        self._products = {tile: define(tile) for tile in dict.fromkeys((*tiles, *alone))}

    def go_through(
        self,
        b: Builder,
        item: ir.Value,
        items: ir.Value,
        panels: ir.Value,
        count: ir.Value,
        product: Callable[..., None],
    ) -> None:
        """All rows times the panels of an item, whose weights stay in the processor's cache; ``product`` calls a function
        for a row, a panel and a vector in it, and what follows them."""
        pairs = b.sdiv(b.add(panels, int64(TOGETHER - 1)), int64(TOGETHER))
        few = b.icmp_signed("<", count, int64(FEW_ROWS))

        def begin(number: ir.Value) -> ir.Value:
            left = b.sub(items, number)
            shorter = b.sub(pairs, b.sdiv(b.mul(pairs, b.mul(left, left)), b.mul(items, items)))
            return b.mul(b.select(few, shorter, number), int64(TOGETHER))

        first, last = begin(item), b.minimum_int(begin(b.add(item, int64(1))), panels)
        lone = b.icmp_signed("==", count, int64(1))
        side_by_side = b.select(lone, int64(0), b.and_(b.sub(last, first), int64(-TOGETHER)))
        then = b.add(first, side_by_side)
        b.loop(first, then, TOGETHER, lambda panel, _: self._all_rows(b, panel, count, TOGETHER, product))
        b.loop(then, last, 1, lambda panel, _: self._all_rows(b, panel, count, 1, product))

    def _all_rows(self, b: Builder, panel: ir.Value, count: ir.Value, panels: int, product: Callable[..., None]) -> None:
        """The most rows first."""
        done = int64(0)
        for wide in self._tiles:
            tile = Tile(wide.rows, panels, wide.parts)
            until = b.sub(count, b.srem(b.sub(count, done), int64(tile.rows)))

            def part(at: ir.Value, _: object, tile: Tile = tile, rows: tuple[ir.Value, ir.Value] = (done, until)) -> None:
                b.loop(*rows, tile.rows, lambda row, _: product(self._products[tile], row, panel, at))

            b.loop(int64(0), int64(self._parts), tile.parts, part)
            done = until
