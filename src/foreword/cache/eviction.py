"""Which cached leaf goes first when room is needed."""

import heapq
from typing import Any, Protocol

from foreword.cache.tree import Node


class EvictionPolicy(Protocol):
    """Order of eviction. Implementations hold no state of the cache."""

    name: str
    young_seconds: float
    """While every evictable leaf was used more recently than this, the last in the order goes first; 0 turns it off."""

    def priority(self, leaf: Node) -> Any:
        """A sortable value, asked when a node becomes an evictable leaf; the smallest is evicted first."""
        ...


class LRU:
    """Least recently used first."""

    name = "lru"
    young_seconds = 0.0

    def priority(self, leaf: Node) -> float:
        """The time of last use, in seconds of the caller's clock."""
        return leaf.last_use


class ProtectedLRU(LRU):
    """LRU with protection from thrashing.

    When the working set is larger than the cache, LRU drops each prefix just before it is asked again. While all
    evictable leaves are younger than ``young_seconds`` the newest goes instead, so that a part of the set keeps hitting.
    """

    name = "protected-lru"

    def __init__(self, young_seconds: float = 30.0):
        self.young_seconds = young_seconds


POLICIES = {"lru": LRU, "protected-lru": ProtectedLRU}


class EvictionQueue:
    """Evictable leaves by priority; entries go stale instead of being removed."""

    def __init__(self, policy: EvictionPolicy):
        self.policy = policy
        self._oldest: list[tuple[Any, int, Node]] = []
        self._newest: list[tuple[float, int, Node]] = []
        self._tickets = 0

    def push(self, node: Node) -> None:
        """Enter a node that has just become an evictable leaf, or whose last use has changed."""
        self._tickets += 1
        node.ticket = self._tickets
        heapq.heappush(self._oldest, (self.policy.priority(node), self._tickets, node))
        if self.policy.young_seconds:
            heapq.heappush(self._newest, (-node.last_use, -self._tickets, node))

    def pop(self, now: float) -> Node | None:
        """The leaf to evict from next; None when nothing can be evicted. Push it again if it keeps blocks."""
        heap = self._oldest
        while heap:
            _, ticket, node = heap[0]
            if node.ticket == ticket and is_evictable(node):
                break
            heapq.heappop(heap)
        else:
            self._newest.clear()
            return None
        young = self.policy.young_seconds
        if young and now - node.last_use < young:
            newest = self._newest
            while not _valid(newest[0][2], -newest[0][1]):
                heapq.heappop(newest)
            return heapq.heappop(newest)[2]
        return heapq.heappop(heap)[2]

    def nodes(self) -> set[Node]:
        """The nodes with a valid entry."""
        return {node for _, ticket, node in self._oldest if _valid(node, ticket)}

    def compact(self, live: int) -> None:
        """Drop stale entries once they outnumber the ``live`` nodes by far; call it now and then."""
        if len(self._oldest) > 4 * live + 1024:
            self._oldest = [entry for entry in self._oldest if _valid(entry[2], entry[1])]
            heapq.heapify(self._oldest)
        if len(self._newest) > 4 * live + 1024:
            self._newest = [entry for entry in self._newest if _valid(entry[2], -entry[1])]
            heapq.heapify(self._newest)


def _valid(node: Node, ticket: int) -> bool:
    return node.ticket == ticket and is_evictable(node)


def is_evictable(node: Node) -> bool:
    """Has blocks, nobody holds it, and no child has blocks."""
    return node.holders == 0 and node.backed > node.start and not node.resident
