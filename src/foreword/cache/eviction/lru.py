"""Least recently used first."""

from typing import ClassVar

from foreword.cache.tree import Node


class LRU:
    """The policy that evicts what was used longest ago."""

    name: ClassVar[str] = "lru"
    learns: ClassVar[bool] = False

    def used(self, node: Node, idle: float | None) -> int:  # noqa: ARG002
        """All nodes are alike."""
        return 0

    def left_behind(self, node: Node) -> int:  # noqa: ARG002
        """All nodes are alike."""
        return 0

    def worth(self, group: int, idle: float) -> float:  # noqa: ARG002
        """The less the longer ago it was used."""
        return -idle
