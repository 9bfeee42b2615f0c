"""How a product of whole numbers is gone through: tiles of some rows and some vectors of outputs, as registers hold them."""

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import Builder, int64
from foreword.backends.cpu.kernels.target import Target

PANEL = 16
"""Outputs whose weights stand side by side."""
TOGETHER = 2
"""Panels of a unit of work, with all rows."""


@dataclass(frozen=True)
class Tile:
    """Rows, and vectors of outputs."""

    rows: int
    strips: int


def panels_of(out_features: int) -> int:
    """How many panels so many outputs fill, the last perhaps in part."""
    return -(-out_features // PANEL)


def items_of(panels: int) -> int:
    """Units of work."""
    return -(-panels // TOGETHER)


class Tiles:
    """The products of a kernel, by the rows and vectors that each takes: the most rows first, one row last."""

    def __init__(self, target: Target, tiles: tuple[Tile, ...], define: Callable[[Tile], ir.Function]):
        """``define`` makes the product of a tile."""
        self._tiles = tiles
        self._strips = PANEL // target.lanes
        fewer = [Tile(tile.rows, min(tile.strips, self._strips)) for tile in tiles]
        self._products = {tile: define(tile) for tile in dict.fromkeys((*tiles, *fewer))}

    def go_through(
        self,
        b: Builder,
        item: ir.Value,
        panels: ir.Value,
        count: ir.Value,
        product: Callable[[ir.Function, ir.Value, ir.Value, ir.Value], None],
    ) -> None:
        """All rows times the panels of an item, whose weights stay in the processor's cache; ``product`` calls a function
        for a row, a panel and a vector in it, and what follows them."""
        begin = b.mul(item, int64(TOGETHER * self._strips))
        last = b.minimum_int(b.add(begin, int64(TOGETHER * self._strips)), b.mul(panels, int64(self._strips)))
        done = int64(0)
        for tile in self._tiles:
            until = b.sub(count, b.srem(b.sub(count, done), int64(tile.rows)))
            whole = b.sub(last, b.srem(b.sub(last, begin), int64(tile.strips)))
            self._over(b, tile, (begin, whole), (done, until), product)
            fewer = Tile(tile.rows, min(tile.strips, self._strips))
            if fewer != tile:  # a last panel may be alone
                self._over(b, fewer, (whole, last), (done, until), product)
            done = until

    def _over(
        self,
        b: Builder,
        tile: Tile,
        strips: tuple[ir.Value, ir.Value],
        rows: tuple[ir.Value, ir.Value],
        product: Callable[[ir.Function, ir.Value, ir.Value, ir.Value], None],
    ) -> None:
        def strip(at: ir.Value, _: object) -> None:
            panel, part = b.sdiv(at, int64(self._strips)), b.srem(at, int64(self._strips))
            b.loop(*rows, tile.rows, lambda row, _: product(self._products[tile], row, panel, part))

        b.loop(*strips, tile.strips, strip)
