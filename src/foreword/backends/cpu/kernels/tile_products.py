"""TileProducts: how rows of attention meet a tile, in float32 or in whole numbers, as attention.py goes through it."""

from typing import NamedTuple, Protocol

from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import Builder


class Taken(NamedTuple):
    """How many rows are taken together, the most first, so that their sums stay in registers: with one panel, and with two,
    which up to ``few`` rows read, for two streams come from memory faster than one."""

    rows: tuple[int, ...]
    pair_rows: tuple[int, ...]
    few: int


SIXTEEN = Taken((6, 4, 2, 1), (2, 1), 4)
"""For so many registers, those of AVX2."""


class TileProducts(Protocol):
    """The functions that rows held meet a tile with, and what is said differently of the two kinds.

    Products are such as ``define_rows`` makes, and their B are addresses of panels: ``scores`` of one panel and
    ``pair_scores`` of two give 16 or 32 columns for the rows of queries; ``weigh`` and ``pair_weigh`` add to 16 or 32
    columns of values, at an offset in the panels. A row of queries has room for one number more than a query.
    """

    taken: Taken
    kept: ir.Type
    """A number as memory keeps it."""
    in_place: bool
    """Whether whole panels in memory are as they are needed."""
    gather: ir.Function
    """See kv_layout.py."""
    scores: ir.Function
    pair_scores: ir.Function
    weigh: ir.Function
    pair_weigh: ir.Function
    softmax: ir.Function
    """See softmax.py."""

    def take(self, b: Builder, source: ir.Value, scaling: ir.Value, query: ir.Value, size: ir.Value) -> None:
        """Put a row's query, scaled, where its row of queries is."""
        ...

    def scales(self, b: Builder, keys: ir.Value, size: ir.Value) -> list[ir.Value]:
        """What the softmax is given besides, of a tile's panels of keys."""
        ...

    def weights(self, b: Builder, row: ir.Value, low: ir.Value) -> ir.Value:
        """Where in a row of scores the weights are, of the columns from ``low`` on."""
        ...

    def columns(self, b: Builder, low: ir.Value, high: ir.Value, end: ir.Value) -> ir.Value:
        """How many weights are gone through: all that are seen end at ``high``, whole panels of them at ``end``."""
        ...
