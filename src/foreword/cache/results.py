"""Results: what the cache answers. Frozen records; the handle of a request is another thing (reservation.py)."""

from dataclasses import dataclass, field

from foreword.cache.lookup import Lookup, Query


@dataclass(frozen=True, slots=True)
class Match:
    """What a look-up found, in leading tokens of the prompt: cached, then in flight, then evicted.

    ``reserve`` takes it. It carries the look-up it was made from, and the version of the tree at which that was right; two
    matches are equal when they found the same.
    """

    cached: int
    in_flight: int
    evicted: int
    query: Query = field(compare=False, repr=False)
    lookup: Lookup | None = field(default=None, compare=False, repr=False)
    version: int = field(default=-1, compare=False, repr=False)

    @property
    def found(self) -> int:
        """Leading tokens that need not be computed: cached or in flight."""
        return self.cached + self.in_flight


@dataclass(frozen=True, slots=True)
class Chunk:
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
