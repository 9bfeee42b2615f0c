"""What the cache tells an observer, and the shape of the observer.

Whoever builds a cache hands it a sink; the cache never knows who listens.
The names follow the KV events that routers of the field already read.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockStored:
    """Consecutive blocks became readable.

    ``tokens`` holds the token ids of the blocks as little-endian int32, ``start`` the position of the first of them in
    its prompt, ``blocks`` the block ids in order; the last block may be partly filled.
    """

    namespace: bytes
    start: int
    tokens: bytes
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """Blocks lost their content. ``tokens`` is how many cached tokens went with them."""

    namespace: bytes
    start: int
    tokens: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AllBlocksCleared:
    """The prefix cache was reset."""


CacheEvent = BlockStored | BlockRemoved | AllBlocksCleared
EventSink = Callable[[CacheEvent], None]
