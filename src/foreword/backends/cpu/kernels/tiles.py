"""How a product of whole numbers is gone through: tiles of some rows and some vectors of outputs, as registers hold them."""

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import Builder, int64
from foreword.backends.cpu.kernels.target import Target

PANEL = 16
"""Outputs whose weights stand side by side."""
TOGETHER = 2
"""Panels of a unit of work, with all rows: side by side, for they share what is made of a row."""
IN_TURN = 4
"""Panels of a unit of work with a lone row: one after the other, for memory is read fastest in one stream that goes on."""


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


def items_of(panels: int, rows: int) -> int:
    """Units of work."""
    return -(-panels // (IN_TURN if rows == 1 else TOGETHER))


class Tiles:
    """The products of a kernel, by the rows and vectors that each takes: the most rows first, one row last."""

    def __init__(self, target: Target, tiles: tuple[Tile, ...], define: Callable[[Tile], ir.Function]):
        """``define`` makes the product of a tile."""
        self._tiles = tiles
        self._parts = PANEL // target.lanes
        alone = [Tile(tile.rows, 1, tile.parts) for tile in tiles]
        self._products = {tile: define(tile) for tile in dict.fromkeys((*tiles, *alone))}

    def go_through(
        self, b: Builder, item: ir.Value, panels: ir.Value, count: ir.Value, product: Callable[..., None]
    ) -> None:
        """All rows times the panels of an item, whose weights stay in the processor's cache; ``product`` calls a function
        for a row, a panel and a vector in it, and what follows them."""

        def in_turn(per_item: int) -> None:
            first, last = b.mul(item, int64(per_item)), b.add(b.mul(item, int64(per_item)), int64(per_item))
            last = b.minimum_int(last, panels)
            b.loop(first, last, 1, lambda panel, _: self._all_rows(b, panel, count, 1, product))

        begin = b.mul(item, int64(TOGETHER))
        whole = b.icmp_signed("<=", b.add(begin, int64(TOGETHER)), panels)
        with b.if_else(b.icmp_signed("==", count, int64(1))) as (alone, several):
            with alone:
                in_turn(IN_TURN)
            with several, b.if_else(whole) as (then, otherwise):
                with then:
                    self._all_rows(b, begin, count, TOGETHER, product)
                with otherwise:
                    in_turn(TOGETHER)

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
