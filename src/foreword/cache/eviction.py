"""Which cached leaf goes first when room is needed."""

import heapq
from collections import deque
from typing import Any, Protocol

from foreword.cache.tree import Node

Entry = tuple[Any, int, Node]
"""Priority, ticket (later ones are higher), and the leaf."""


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
    """Evictable leaves by priority; entries go stale instead of being removed.

    Most leaves enter in the order of their priority, under LRU nearly all; they wait in line and cost no heap. Leaves that a
    mark keeps come behind all others, among themselves in the same order.
    """

    def __init__(self, policy: EvictionPolicy):
        self.policy = policy
        self._line: deque[Entry] = deque()  # ascending
        self._heap: list[Entry] = []  # those that came later than it was their turn
        self._newest: list[tuple[float, int, Entry]] = []  # a heap, the last used first
        self._marked: list[Entry] = []  # a heap
        self._tickets = 0

    def push(self, node: Node) -> None:
        """Enter a node that has just become an evictable leaf, or whose last use or marks have changed."""
        ticket = node.ticket = self._tickets = self._tickets + 1
        line, entry = self._line, (self.policy.priority(node), ticket, node)
        if node.marks:
            heapq.heappush(self._marked, entry)
            return
        if not line or line[-1] < entry:
            line.append(entry)
        else:
            heapq.heappush(self._heap, entry)
        if self.policy.young_seconds:
            heapq.heappush(self._newest, (-node.last_use, -ticket, entry))

    def first(self, now: float) -> Node | None:
        """The leaf to evict from next; None when nothing can be evicted. It stays first for as long as it has blocks."""
        line, heap, newest, young = self._line, self._heap, self._newest, self.policy.young_seconds
        while line and not _valid(line[0]):
            line.popleft()
        while heap and not _valid(heap[0]):
            heapq.heappop(heap)
        if not (line or heap):
            newest.clear()
            return self._first_marked()
        node = (heap[0] if not line or (heap and heap[0] < line[0]) else line[0])[2]
        if young and now - node.last_use < young:
            while not _valid(newest[0][2]):
                heapq.heappop(newest)
            return newest[0][2][2]
        return node

    def nodes(self) -> set[Node]:
        """The nodes with a valid entry among those without a mark."""
        return {entry[2] for entry in (*self._line, *self._heap) if _valid(entry)}

    def marked_nodes(self) -> set[Node]:
        """The nodes with a valid entry among those that a mark keeps."""
        return {entry[2] for entry in self._marked if _valid(entry)}

    def compact(self, live: int) -> None:
        """Drop stale entries once they outnumber the ``live`` nodes by far; call it now and then."""
        limit = 4 * live + 1024
        if len(self._line) > limit:
            self._line = deque(entry for entry in self._line if _valid(entry))
        if len(self._heap) > limit:
            self._heap = [entry for entry in self._heap if _valid(entry)]
            heapq.heapify(self._heap)
        if len(self._newest) > limit:
            self._newest = [item for item in self._newest if _valid(item[2])]
            heapq.heapify(self._newest)
        if len(self._marked) > limit:
            self._marked = [entry for entry in self._marked if _valid(entry)]
            heapq.heapify(self._marked)

    def _first_marked(self) -> Node | None:
        while self._marked and not _valid(self._marked[0]):
            heapq.heappop(self._marked)
        return self._marked[0][2] if self._marked else None


def _valid(entry: Entry) -> bool:
    _, ticket, node = entry
    return node.ticket == ticket and is_evictable(node)


def is_evictable(node: Node) -> bool:
    """Has blocks, nobody holds it, and no child has blocks."""
    return node.holders == 0 and node.backed > node.start and not node.resident
