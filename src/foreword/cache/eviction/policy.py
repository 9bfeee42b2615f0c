"""The contract of an eviction policy: one method, a sortable priority."""

from typing import Any, ClassVar, Protocol

from foreword.cache.tree import Node


class EvictionPolicy(Protocol):
    """Order of eviction. Implementations hold no state of the cache."""

    name: ClassVar[str]
    young_seconds: float
    """While every evictable leaf was used more recently than this, the last in the order goes first; 0 turns it off."""

    def priority(self, leaf: Node) -> Any:
        """A sortable value, asked when a node becomes an evictable leaf; the smallest is evicted first."""
        ...
