"""The contract of an eviction policy: a group for every node, and what a leaf of a group is worth."""

from typing import ClassVar, Protocol

from foreword.cache.tree import Node


class EvictionPolicy(Protocol):
    """Order of eviction. Of each group the leaf that was used longest ago and the one used last are compared by worth."""

    name: ClassVar[str]
    learns: ClassVar[bool]
    """Whether it is to be told of uses; if not, all nodes are in group 0."""

    def used(self, node: Node, idle: float | None) -> int:
        """A node has just been used after so many seconds, or for the first time (None); returns its group from now on."""
        ...

    def left_behind(self, node: Node) -> int:
        """Its conversation has just gone on without this node; returns its group from now on."""
        ...

    def worth(self, group: int, idle: float) -> float:
        """What a leaf of a group is worth that has not been used for so many seconds; the smallest is evicted first."""
        ...
