"""The paths that marked prefixes keep, counted at every node; nothing of times and budgets (see marks.py).

A marked prefix has an *anchor*, the node at which its last whole block ends; less than a block of it, the *rest*, may
follow. What is kept is the path to the anchor, and of the children that begin with the rest one, if there is one. Whoever
takes blocks away or cuts an edge says so here, and what is left of the path is kept.
"""

from collections import OrderedDict
from collections.abc import Iterator

from foreword.cache.eviction import EvictionQueue, is_evictable
from foreword.cache.tree import Node, key_tokens


class MarkedPrefix:
    """A prefix that is marked now."""

    __slots__ = ("anchor", "kept", "position", "rest", "ttl_seconds", "until")

    def __init__(self, anchor: Node, rest: bytes, ttl_seconds: float):
        self.anchor = anchor
        self.rest = rest  # what follows the anchor, less than a block, as a key (see tree.py)
        self.position = anchor.end + key_tokens(rest)
        self.kept = anchor  # the end of the path that is kept: the anchor or its child
        self.ttl_seconds = ttl_seconds  # the longest that it was marked with
        self.until = 0.0  # seconds of the caller's clock


class MarkedPaths:
    """Which nodes marks keep: every node counts in ``marks`` how many. ``blocks`` are theirs, all together."""

    def __init__(self, queue: EvictionQueue):
        self.blocks = 0
        self._queue = queue
        self._by_anchor: dict[Node, dict[bytes, MarkedPrefix]] = {}
        self._order: OrderedDict[MarkedPrefix, None] = OrderedDict()  # by last use

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, prefix: MarkedPrefix) -> bool:
        return prefix in self._order

    def __iter__(self) -> Iterator[MarkedPrefix]:
        """All of them, the one used longest ago first."""
        return iter(self._order)

    @property
    def anchors(self) -> int:
        """At how many nodes marked prefixes end."""
        return len(self._by_anchor)

    def at(self, anchor: Node) -> list[MarkedPrefix]:
        """Those that have this anchor."""
        return list(self._by_anchor.get(anchor, {}).values())

    def begin(self, anchor: Node, rest: bytes, ttl_seconds: float) -> tuple[MarkedPrefix, bool]:
        """The marked prefix of an anchor and a rest, and whether it is new."""
        prefix = self._by_anchor.get(anchor, {}).get(rest)
        if prefix is not None:
            return prefix, False
        prefix = MarkedPrefix(anchor, rest, ttl_seconds)
        self._by_anchor.setdefault(anchor, {})[rest] = prefix
        self._order[prefix] = None
        self._count(anchor)
        return prefix, True

    def used(self, prefix: MarkedPrefix, kept: Node) -> None:
        """A prefix has just been used; from now on the path to ``kept`` is kept for it."""
        self._order.move_to_end(prefix)
        if kept is not prefix.kept:
            self._move(prefix, kept)

    def end(self, prefix: MarkedPrefix) -> None:
        """A prefix is not marked any more; what it kept sinks back among the others."""
        del self._order[prefix]
        siblings = self._by_anchor[prefix.anchor]
        del siblings[prefix.rest]
        if not siblings:
            del self._by_anchor[prefix.anchor]
        self._discount(prefix.kept)

    def lost(self, node: Node, blocks: int) -> None:
        """A kept node has lost so many blocks. Where none are left, what is above it is kept: of a rest its anchor."""
        self.blocks -= blocks
        if node.blocks:
            return
        for prefix in self.at(node):
            self.end(prefix)
        parent = node.parent
        assert parent is not None
        for prefix in self.at(parent):
            if prefix.kept is node:
                self._move(prefix, parent)

    def shortened(self, anchor: Node, left: Node) -> None:
        """The end of a kept edge is gone: of the prefixes that ended there one goes on, to the end of what is left."""
        prefixes = sorted(self.at(anchor), key=lambda prefix: prefix.until)
        for prefix in prefixes[:-1]:
            self.end(prefix)
        for prefix in prefixes[-1:]:
            del self._by_anchor[anchor]
            prefix.anchor, prefix.rest, prefix.position = left, b"", left.end
            self._by_anchor[left] = {b"": prefix}
            self._move(prefix, left)

    def _move(self, prefix: MarkedPrefix, kept: Node) -> None:
        old, prefix.kept = prefix.kept, kept
        self._count(kept)
        self._discount(old)

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
