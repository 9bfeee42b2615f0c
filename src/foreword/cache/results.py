"""Results: what the cache answers. Frozen records; the handle of a request is another thing (reservation.py)."""

from dataclasses import dataclass
from typing import NamedTuple

from foreword.cache.lookup import Lookup, Query


class Match(NamedTuple):
    """What a look-up found, in leading tokens of the prompt: cached, then in flight, then stored on a lower tier.

    ``evicted`` tokens behind those that are cached or in flight were cached once, stored or not.

    ``reserve`` takes it. It carries what was looked up, where that meets the tree, and the version of the tree at which this
    was right. (A named tuple, which is made in half the time of a frozen dataclass: a step makes hundreds.)
    """

    cached: int
    in_flight: int
    evicted: int
    query: Query
    lookup: Lookup | None = None
    version: int = -1
    stored: int = 0

    @property
    def found(self) -> int:
        """Leading tokens that need not be computed: cached, in flight, or stored on a lower tier."""
        return self.cached + self.in_flight + self.stored


class Chunk(NamedTuple):
    """Tokens [start, end) of a request to compute in this step."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Blocks and tokens of a cache at one moment; marked blocks are also held or evictable."""

    total_blocks: int
    free_blocks: int
    evictable_blocks: int
    held_blocks: int
    ghost_tokens: int
    evicted_tokens: int
    marked_blocks: int = 0
