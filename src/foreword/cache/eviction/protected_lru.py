"""LRU with protection from thrashing."""

from typing import ClassVar

from foreword.cache.tree import Node


class ProtectedLRU:
    """The policy for working sets larger than the cache, where LRU drops each prefix just before it is asked again.

    While all evictable leaves are younger than ``young_seconds`` the newest goes instead, so that a part of the set keeps
    hitting.
    """

    name: ClassVar[str] = "protected-lru"
    learns: ClassVar[bool] = False

    def __init__(self, young_seconds: float = 30.0):
        self.young_seconds = young_seconds

    def used(self, node: Node, idle: float | None) -> int:  # noqa: ARG002
        """All nodes are alike."""
        return 0

    def left_behind(self, node: Node) -> int:  # noqa: ARG002
        """All nodes are alike."""
        return 0

    def worth(self, group: int, idle: float) -> float:  # noqa: ARG002
        """Of the young ones the newest is worth least; any that is older is worth less than they, the oldest least."""
        return idle if idle < self.young_seconds else -idle
