"""Evictable leaves in the order in which they go."""

import heapq
from collections import deque

from foreword.cache.eviction.policy import EvictionPolicy
from foreword.cache.tree import Node

COMPACT_EVERY = 1024  # entries

Entry = tuple[float, int, Node]
"""Time of last use, ticket (later ones are higher), and the leaf."""


class _Group:
    """The leaves of one group. Most enter in the order of their last use; they wait in line and cost no heap."""

    def __init__(self) -> None:
        self.line: deque[Entry] = deque()  # ascending
        self.late: list[Entry] = []  # a heap of those that came later than it was their turn
        self.latest: list[tuple[float, int, Entry]] = []  # the same, the last used first

    def push(self, entry: Entry) -> None:
        """Enter a leaf."""
        if not self.line or self.line[-1] < entry:
            self.line.append(entry)
        else:
            heapq.heappush(self.late, entry)
            heapq.heappush(self.latest, (-entry[0], -entry[1], entry))

    def oldest(self) -> Entry | None:
        """The leaf used longest ago."""
        line, late = self.line, self.late
        while line and not _valid(line[0]):
            line.popleft()
        while late and not _valid(late[0]):
            heapq.heappop(late)
        if not line:
            return late[0] if late else None
        return late[0] if late and late[0] < line[0] else line[0]

    def newest(self) -> Entry | None:
        """The leaf used last."""
        line, latest = self.line, self.latest
        while line and not _valid(line[-1]):
            line.pop()
        while latest and not _valid(latest[0][2]):
            heapq.heappop(latest)
        if not line:
            return latest[0][2] if latest else None
        return latest[0][2] if latest and latest[0][2] > line[-1] else line[-1]

    def compact(self, limit: int) -> None:
        """Drop the stale entries of lists that are longer than a limit."""
        if len(self.line) > limit:
            self.line = deque(entry for entry in self.line if _valid(entry))
        if len(self.late) > limit:
            self.late = [entry for entry in self.late if _valid(entry)]
            heapq.heapify(self.late)
            self.latest = [(-entry[0], -entry[1], entry) for entry in self.late]
            heapq.heapify(self.latest)


class EvictionQueue:
    """Evictable leaves by what the policy holds them worth; entries go stale instead of being removed.

    Leaves whose conversation has ended come before all others, leaves that a mark keeps behind them; among themselves both
    have those first that were used longest ago.
    """

    def __init__(self, policy: EvictionPolicy):
        self.policy = policy
        self._groups: dict[int, _Group] = {0: _Group()}
        self._ended = _Group()
        self._marked: list[Entry] = []  # a heap
        self._tickets = 0
        self._compact_at = COMPACT_EVERY  # at which ticket the lists are looked at again

    def push(self, node: Node) -> None:
        """Enter a node that has just become an evictable leaf, or whose last use or marks have changed."""
        ticket = node.ticket = self._tickets = self._tickets + 1
        entry = (node.last_use, ticket, node)
        if node.marks:
            heapq.heappush(self._marked, entry)
            return
        if node.ended:
            self._ended.push(entry)
            return
        group = self._groups.get(node.group)
        if group is None:
            group = self._groups[node.group] = _Group()
        group.push(entry)

    def first(self, now: float) -> Node | None:
        """The leaf to evict from next; None when nothing can be evicted. It stays first for as long as it has blocks."""
        ended = self._ended.oldest()
        if ended is not None:
            return ended[2]
        best: tuple[float, int] | None = None
        found: Node | None = None
        for number, group in self._groups.items():
            oldest, newest = group.oldest(), group.newest()
            if oldest is None or newest is None:
                continue
            worth = self.policy.worth(number, now - oldest[0])
            last = self.policy.worth(number, now - newest[0])
            entry = oldest if worth <= last else newest
            order = (min(worth, last), entry[1])
            if best is None or order < best:
                best, found = order, entry[2]
        return found or self._first_marked()

    def stale_limit(self, live: int) -> int:
        """How many entries each list may have with ``live`` nodes; beyond it the stale ones are dropped before long."""
        return 4 * live + COMPACT_EVERY

    def lengths(self) -> tuple[int, ...]:
        """Entries of every list, stale ones included: those of each group and of what has ended, then the marked ones."""
        groups = (*self._groups.values(), self._ended)
        return (*(len(part) for group in groups for part in (group.line, group.late, group.latest)), len(self._marked))

    def nodes(self) -> set[Node]:
        """The nodes with a valid entry among those without a mark."""
        groups = (*self._groups.values(), self._ended)
        return {entry[2] for group in groups for entry in (*group.line, *group.late) if _valid(entry)}

    def marked_nodes(self) -> set[Node]:
        """The nodes with a valid entry among those that a mark keeps."""
        return {entry[2] for entry in self._marked if _valid(entry)}

    def compact(self, live: int) -> None:
        """Drop stale entries once they outnumber the ``live`` nodes by far; call it now and then."""
        if self._tickets < self._compact_at:
            return
        self._compact_at = self._tickets + COMPACT_EVERY
        limit = self.stale_limit(live)
        for group in (*self._groups.values(), self._ended):
            group.compact(limit)
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
