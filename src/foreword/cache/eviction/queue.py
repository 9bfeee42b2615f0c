"""Evictable leaves in the order in which they go."""

import heapq
from collections import deque
from typing import Any

from foreword.cache.eviction.policy import EvictionPolicy
from foreword.cache.tree import Node

COMPACT_EVERY = 1024  # entries

Entry = tuple[Any, int, Node]
"""Priority, ticket (later ones are higher), and the leaf."""


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
        self._compact_at = COMPACT_EVERY  # at which ticket the lists are looked at again

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

    def stale_limit(self, live: int) -> int:
        """How many entries each list may have with ``live`` nodes; beyond it the stale ones are dropped before long."""
        return 4 * live + COMPACT_EVERY

    def lengths(self) -> tuple[int, int, int, int]:
        """Entries, stale ones included: in line, late, newest first, marked."""
        return len(self._line), len(self._heap), len(self._newest), len(self._marked)

    def nodes(self) -> set[Node]:
        """The nodes with a valid entry among those without a mark."""
        return {entry[2] for entry in (*self._line, *self._heap) if _valid(entry)}

    def marked_nodes(self) -> set[Node]:
        """The nodes with a valid entry among those that a mark keeps."""
        return {entry[2] for entry in self._marked if _valid(entry)}

    def compact(self, live: int) -> None:
        """Drop stale entries once they outnumber the ``live`` nodes by far; call it now and then."""
        if self._tickets < self._compact_at:
            return
        self._compact_at = self._tickets + COMPACT_EVERY
        limit = self.stale_limit(live)
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
    node = entry[2]  # evictable, as below, but written out: this is asked several times a request
    return node.ticket == entry[1] and not node.holders and node.backed > node.start and not node.resident


def is_evictable(node: Node) -> bool:
    """Has blocks, nobody holds it, and no child has blocks."""
    return node.holders == 0 and node.backed > node.start and not node.resident
