"""Marks: prefixes that are worth keeping for a while. They raise a priority, inside a budget; they never pin.

A mark is on a prefix, whoever uses it. Its *anchor* is the node at which the last whole block of the prefix ends; less than
a block of it, the *rest*, may follow. What is kept is the path to the anchor, and of the children that begin with the rest
one, cut to its first block; if there is none just now, the next use finds one. While its mark is alive the path is evicted
only when nothing without a mark can be.
"""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foreword.cache.eviction import EvictionQueue, is_evictable
from foreword.cache.tree import Node, RadixTree, Root
from foreword.tokens import TOKEN_BYTES

STALE_EXPIRIES = 64  # how many more than live ones there may be


@dataclass(frozen=True, slots=True)
class Mark:
    """The first ``position`` tokens of a prompt are to be kept for ``ttl_seconds`` after each use.

    A request with marks refreshes an earlier mark of its prompt only if it stands at or behind ``since`` of one of its own
    and not behind that one; a request without marks refreshes all that its prompt covers.
    """

    position: int
    ttl_seconds: float
    since: int = 0


class MarkedPrefix:
    """A prefix that is marked now."""

    __slots__ = ("anchor", "kept", "position", "rest", "ttl_seconds", "until")

    def __init__(self, anchor: Node, rest: bytes, ttl_seconds: float):
        self.anchor = anchor
        self.rest = rest  # packed tokens behind the anchor, less than a block
        self.position = anchor.end + len(rest) // TOKEN_BYTES
        self.kept = anchor  # the end of the path that is kept: the anchor or its child
        self.ttl_seconds = ttl_seconds  # the longest that it was marked with
        self.until = 0.0  # seconds of the caller's clock


class Marks:
    """The marked prefixes of a cache. ``budget`` is the number of blocks that they may keep; what they keep is ``blocks``.

    Beyond the budget the marks used longest ago go. Every node counts in ``marks`` how many marked prefixes keep it.
    """

    def __init__(self, tree: RadixTree, queue: EvictionQueue, budget: int):
        self.budget = budget
        self.blocks = 0
        self._tree = tree
        self._queue = queue
        self._by_anchor: dict[Node, dict[bytes, MarkedPrefix]] = {}
        self._order: OrderedDict[MarkedPrefix, None] = OrderedDict()  # by last use
        self._expiries: list[tuple[float, int, MarkedPrefix]] = []  # a heap; times may be too early, never too late
        self._tickets = itertools.count()

    def __len__(self) -> int:
        return len(self._order)

    def prefixes(self) -> list[MarkedPrefix]:
        """All of them, the one used longest ago first."""
        return list(self._order)

    def use(self, root: Root, prompt: bytes, marks: Sequence[Mark], now: float, split: Callable[[Node, int], Node]) -> None:
        """A prompt's tokens (packed, as far as they were computed) have been used: refresh its marks, and enter new ones.

        ``split`` cuts an edge at a block's end and returns the upper node. The marks of one prompt go shortest last, so
        that beyond the budget the longest prefix lapses first.
        """
        self._expire(now)
        node, reached = self._tree.walk(root, prompt)
        current: Node | None = node
        while current is not None and self._order:
            if current.end <= reached:
                for prefix in list(self._by_anchor.get(current, {}).values()):
                    if prompt.startswith(prefix.rest, current.end * TOKEN_BYTES) and _sees(marks, prefix.position):
                        self._keep(prefix, prefix.ttl_seconds, now, split)
            current = current.parent
        for mark in sorted(marks, key=lambda mark: -mark.position):
            self._enter(root, prompt, mark, now, split)
        self._trim()

    def settle(self, now: float) -> None:
        """End the marks whose time is up, and those beyond the budget; to be called before anything is evicted."""
        self._expire(now)
        self._trim()

    def clear(self) -> None:
        """End all marks."""
        for prefix in self.prefixes():
            self._end(prefix)

    def lost(self, node: Node, blocks: int) -> None:
        """A kept node has lost some blocks. Where none are left, what is above it is kept: of a rest its anchor."""
        self.blocks -= blocks
        if node.blocks:
            return
        for prefix in list(self._by_anchor.get(node, {}).values()):
            self._end(prefix)
        parent = node.parent
        assert parent is not None
        for prefix in [prefix for prefix in self._by_anchor.get(parent, {}).values() if prefix.kept is node]:
            self._move(prefix, parent)

    def shorten(self, anchor: Node, left: Node) -> None:
        """The end of a marked edge is gone: of the prefixes that ended there one goes on, to the end of what is left."""
        prefixes = sorted(self._by_anchor.get(anchor, {}).values(), key=lambda prefix: prefix.until)
        for prefix in prefixes[:-1]:
            self._end(prefix)
        for prefix in prefixes[-1:]:
            del self._by_anchor[anchor]
            prefix.anchor, prefix.rest, prefix.position = left, b"", left.end
            self._by_anchor[left] = {b"": prefix}
            self._move(prefix, left)

    def _enter(self, root: Root, prompt: bytes, mark: Mark, now: float, split: Callable[[Node, int], Node]) -> None:
        """Mark a prefix, or as much of its beginning as the budget allows; nothing if it was not computed to its end."""
        size = self._tree.block_size
        position = min(mark.position, self.budget * size)
        if position <= 0 or position * TOKEN_BYTES > len(prompt):
            return
        whole = position // size * size
        anchor, _ = self._tree.walk(root, prompt[: whole * TOKEN_BYTES])  # held by who marks: it is there, with its blocks
        if anchor.end > whole:
            anchor = split(anchor, whole)
        rest = prompt[whole * TOKEN_BYTES : position * TOKEN_BYTES]
        prefix = self._by_anchor.get(anchor, {}).get(rest)
        if prefix is None:
            prefix = MarkedPrefix(anchor, rest, mark.ttl_seconds)
            self._by_anchor.setdefault(anchor, {})[rest] = prefix
            self._order[prefix] = None
            self._count(anchor)
            heapq.heappush(self._expiries, (now + mark.ttl_seconds, next(self._tickets), prefix))
        self._keep(prefix, mark.ttl_seconds, now, split)

    def _keep(self, prefix: MarkedPrefix, ttl_seconds: float, now: float, split: Callable[[Node, int], Node]) -> None:
        """Begin a prefix's time anew, and find what is to be kept of it."""
        prefix.ttl_seconds = max(prefix.ttl_seconds, ttl_seconds)
        prefix.until = max(prefix.until, now + prefix.ttl_seconds)
        self._order.move_to_end(prefix)
        anchor, kept = prefix.anchor, prefix.anchor
        if prefix.rest:
            child, common = self._tree.nearest(anchor, prefix.rest)
            if child is not None and common * TOKEN_BYTES == len(prefix.rest):
                first_end = anchor.end + self._tree.block_size
                kept = split(child, first_end) if child.end > first_end else child
        if kept is not prefix.kept:
            self._move(prefix, kept)

    def _move(self, prefix: MarkedPrefix, kept: Node) -> None:
        old, prefix.kept = prefix.kept, kept
        self._count(kept)
        self._discount(old)

    def _end(self, prefix: MarkedPrefix) -> None:
        """A prefix is not marked any more; what it kept sinks back among the others."""
        del self._order[prefix]
        siblings = self._by_anchor[prefix.anchor]
        del siblings[prefix.rest]
        if not siblings:
            del self._by_anchor[prefix.anchor]
        self._discount(prefix.kept)
        if len(self._expiries) > 4 * len(self._order) + STALE_EXPIRIES:
            self._expiries = [entry for entry in self._expiries if entry[2] in self._order]
            heapq.heapify(self._expiries)

    def _expire(self, now: float) -> None:
        heap = self._expiries
        while heap and heap[0][0] <= now:
            _, _, prefix = heapq.heappop(heap)
            if prefix in self._order:
                if prefix.until <= now:
                    self._end(prefix)
                else:
                    heapq.heappush(heap, (prefix.until, next(self._tickets), prefix))

    def _trim(self) -> None:
        """End the marks beyond the budget, those used longest ago first; there are no more marks than blocks to keep."""
        while self.blocks > self.budget or len(self._order) > self.budget:
            self._end(next(iter(self._order)))

    def _count(self, node: Node) -> None:
        """One more prefix keeps the path to a node."""
        current: Node | None = node
        while current is not None:
            current.marks += 1
            if current.marks == 1:
                self.blocks += len(current.blocks)
                if is_evictable(current):
                    self._queue.push(current)
            current = current.parent

    def _discount(self, node: Node) -> None:
        current: Node | None = node
        while current is not None:
            current.marks -= 1
            if current.marks == 0:
                self.blocks -= len(current.blocks)
                if is_evictable(current):
                    self._queue.push(current)
            current = current.parent


def _sees(marks: Sequence[Mark], position: int) -> bool:
    """Whether a request with these marks refreshes an earlier one at a position."""
    return not marks or any(mark.since <= position <= mark.position for mark in marks)
