"""Marks: prefixes that are worth keeping for a while. They raise a priority, inside a budget; they never pin.

A mark is on a prefix, whoever uses it. While it is alive the path of the prefix (marked_paths.py) is evicted only when
nothing without a mark can be. Of what follows the last whole block a child is kept, cut to its first block; if there is none
just now, the next use finds one.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from foreword.cache.marked_paths import MarkedPaths, MarkedPrefix
from foreword.cache.namespace import PrivatePart
from foreword.cache.residency import Residency
from foreword.cache.tree import Node, RadixTree, Root, child_key
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


class Marks:
    """How long prefixes stay marked. ``budget`` is the number of blocks that they may keep.

    Beyond the budget the marks used longest ago go.
    """

    def __init__(self, tree: RadixTree, residency: Residency, paths: MarkedPaths, budget: int):
        self.budget = budget
        self._tree = tree
        self._residency = residency
        self._paths = paths
        self._expiries: list[tuple[float, int, MarkedPrefix]] = []  # a heap; times may be too early, never too late
        self._tickets = itertools.count()

    @property
    def expiries(self) -> int:
        """How many times of expiry are noted, those of ended marks included."""
        return len(self._expiries)

    def use(self, root: Root, prompt: bytes, private: PrivatePart | None, marks: Sequence[Mark], now: float) -> None:
        """A prompt's tokens (packed, as far as they were computed) have been used: refresh its marks, and enter new ones.

        The marks of one prompt go shortest last, so that beyond the budget the longest prefix lapses first.
        """
        self._expire(now)
        node, reached = self._tree.walk(root, prompt, private)
        current: Node | None = node
        while current is not None and self._paths:
            if current.end <= reached:
                for prefix in self._paths.at(current):
                    if _sees(marks, prefix.position) and prefix.rest == _rest(current, prompt, prefix.position, private):
                        self._keep(prefix, prefix.ttl_seconds, now)
            current = current.parent
        for mark in sorted(marks, key=lambda mark: -mark.position):
            self._enter(root, prompt, private, mark, now)
        self._trim()

    def settle(self, now: float) -> None:
        """End the marks whose time is up, and those beyond the budget; to be called before anything is evicted."""
        if self._paths:
            self._expire(now)
            self._trim()

    def clear(self) -> None:
        """End all marks."""
        for prefix in list(self._paths):
            self._paths.end(prefix)
        self._expiries.clear()

    def _enter(self, root: Root, prompt: bytes, private: PrivatePart | None, mark: Mark, now: float) -> None:
        """Mark a prefix, or as much of its beginning as the budget allows; nothing if it was not computed to its end."""
        size = self._tree.block_size
        position = min(mark.position, self.budget * size)
        if position <= 0 or position * TOKEN_BYTES > len(prompt):
            return
        whole = position // size * size
        # held by who marks: it is there, with its blocks
        anchor, _ = self._tree.walk(root, prompt[: whole * TOKEN_BYTES], private)
        if anchor.end > whole:
            anchor = self._residency.split(anchor, whole)
        prefix, new = self._paths.begin(anchor, _rest(anchor, prompt, position, private), mark.ttl_seconds)
        if new:
            heapq.heappush(self._expiries, (now + mark.ttl_seconds, next(self._tickets), prefix))
        self._keep(prefix, mark.ttl_seconds, now)

    def _keep(self, prefix: MarkedPrefix, ttl_seconds: float, now: float) -> None:
        """Begin a prefix's time anew, and find what is to be kept of it."""
        prefix.ttl_seconds = max(prefix.ttl_seconds, ttl_seconds)
        prefix.until = max(prefix.until, now + prefix.ttl_seconds)
        anchor, kept = prefix.anchor, prefix.anchor
        if prefix.rest:
            child, common = self._tree.nearest(anchor, prefix.rest)
            if child is not None and common == prefix.position - anchor.end:
                first_end = anchor.end + self._tree.block_size
                kept = self._residency.split(child, first_end) if child.end > first_end else child
        self._paths.used(prefix, kept)

    def _expire(self, now: float) -> None:
        heap = self._expiries
        while heap and heap[0][0] <= now:
            _, _, prefix = heapq.heappop(heap)
            if prefix in self._paths:
                if prefix.until <= now:
                    self._paths.end(prefix)
                else:
                    heapq.heappush(heap, (prefix.until, next(self._tickets), prefix))

    def _trim(self) -> None:
        """End the marks beyond the budget, those used longest ago first; there are no more marks than blocks to keep."""
        while self._paths.blocks > self.budget or len(self._paths) > self.budget:
            self._paths.end(next(iter(self._paths)))
        self._forget_stale()

    def _forget_stale(self) -> None:
        """Drop the times of ended marks once they outnumber the others by far."""
        if len(self._expiries) > 4 * len(self._paths) + STALE_EXPIRIES:
            self._expiries = [entry for entry in self._expiries if entry[2] in self._paths]
            heapq.heapify(self._expiries)


def _rest(anchor: Node, prompt: bytes, position: int, private: PrivatePart | None) -> bytes:
    """What follows an anchor in a prompt up to a position, as a key."""
    return child_key(prompt[anchor.end * TOKEN_BYTES : position * TOKEN_BYTES], anchor.end, private)


def _sees(marks: Sequence[Mark], position: int) -> bool:
    """Whether a request with these marks refreshes an earlier one at a position."""
    return not marks or any(mark.since <= position <= mark.position for mark in marks)
