"""Least recently used first."""

from typing import ClassVar

from foreword.cache.tree import Node


class LRU:
    """The policy that evicts what was used longest ago."""

    name: ClassVar[str] = "lru"
    young_seconds = 0.0

    def priority(self, leaf: Node) -> float:
        """The time of last use, in seconds of the caller's clock."""
        return leaf.last_use
