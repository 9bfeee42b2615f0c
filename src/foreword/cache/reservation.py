"""The handle of a request: what it holds of the cache while it runs, to be read; and what the cache notes about it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foreword.account import Source
from foreword.cache.actions import CopyBlock
from foreword.cache.ledger import RequestLedger
from foreword.cache.lookup import Query
from foreword.cache.marks import Mark
from foreword.cache.namespace import PrivatePart
from foreword.cache.pool import Blocks
from foreword.cache.tree import NO_BLOCKS, Node
from foreword.errors import IntegrityError
from foreword.tokens import TOKEN_BYTES


class Hold:
    """A request's hold on its path and its blocks, as the rooms of the cache keep it; others have a Reservation.

    blocks
        Block ids of tokens 0, block_size, 2 * block_size, ...
    computed
        Leading tokens whose KV can be read.
    """

    __slots__ = (
        "blocks",
        "brought",
        "computed",
        "copy",
        "copy_at",
        "copy_source",
        "first",
        "ledger",
        "length",
        "marks",
        "node",
        "open_end",
        "private",
        "shared_end",
        "span",
        "spoiled",
        "tokens",
    )

    def __init__(self, query: Query, ledger: RequestLedger, marks: Sequence[Mark] = ()):
        self.tokens = query.tokens
        self.length = len(query.tokens) // TOKEN_BYTES
        self.private: PrivatePart | None = query.private
        self.ledger = ledger
        self.marks = marks
        self.node: Node | None = None  # deepest held node; None: the cache is off for this request
        self.open_end = False  # whether that node ends within a block which this request may go on writing
        self.shared_end = 0  # where the tree's part of the blocks ends
        self.blocks: Blocks = NO_BLOCKS
        self.computed = 0
        self.brought: list[tuple[int, int, Source]] = []  # spans that a lower tier has brought meanwhile, ascending
        self.first: int | None = None  # of the tokens that it has planned to compute
        self.spoiled = False  # whether KV that it reads turned out to be wrong
        self.span: tuple[int, int] | None = None  # what the step being built computes
        self.copy: CopyBlock | None = None  # still to run
        self.copy_at = 0  # position of the block that the copy goes to
        self.copy_source: Node | None = None  # who computes the source of the copy; None when it is readable

    def tail(self, start: int, generated: bytes) -> bytes:
        """Packed tokens [start, computed): the end of the prompt and of what was ``generated`` after it."""
        if start >= self.length:
            return generated[(start - self.length) * TOKEN_BYTES : (self.computed - self.length) * TOKEN_BYTES]
        if self.computed <= self.length:
            return self.tokens[start * TOKEN_BYTES : self.computed * TOKEN_BYTES]
        return self.tokens[start * TOKEN_BYTES :] + generated[: (self.computed - self.length) * TOKEN_BYTES]


class Reservation:
    """A request's blocks, and how far they are readable. To be read; the cache's methods change it."""

    __slots__ = ("_hold",)

    def __init__(self, hold: Hold):
        self._hold = hold

    @property
    def length(self) -> int:
        """Tokens of the prompt that was reserved."""
        return self._hold.length

    @property
    def computed(self) -> int:
        """Leading tokens whose KV can be read."""
        return self._hold.computed

    @property
    def spoiled(self) -> bool:
        """Whether KV that it reads has been dropped as wrong: it is to be released, and its request to begin anew."""
        return self._hold.spoiled

    @property
    def table(self) -> npt.NDArray[np.int32]:
        """The block table: block ids of tokens 0, block_size, 2 * block_size, ..., not copied and read-only."""
        table = np.frombuffer(self._hold.blocks, np.int32)
        table.flags.writeable = False
        return table


class Holds(dict[Reservation, Hold]):
    """What is noted of every reservation that has not been released. IntegrityError for any other."""

    def __missing__(self, reservation: Reservation) -> Hold:
        raise IntegrityError("A reservation was used that is not held: released twice, or another cache's.")
