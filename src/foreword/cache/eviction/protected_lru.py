"""LRU with protection from thrashing."""

from typing import ClassVar

from foreword.cache.tree import Node


class ProtectedLRU:
    """The policy for working sets larger than the cache, where LRU drops each prefix just before it is asked again.

    While all evictable leaves are younger than ``young_seconds`` the newest goes instead, so that a part of the set keeps
    hitting.
    """

    name: ClassVar[str] = "protected-lru"

    def __init__(self, young_seconds: float = 30.0):
        self.young_seconds = young_seconds

    def priority(self, leaf: Node) -> float:
        """The time of last use, in seconds of the caller's clock."""
        return leaf.last_use
