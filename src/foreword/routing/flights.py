"""What replicas are about to have: the prefixes of requests that were placed and have not ended, as a tree."""

from collections import Counter
from itertools import pairwise

import numpy as np

from foreword.routing.index import Depths
from foreword.routing.records import BlockHashes


class _Edge:
    """Consecutive blocks, and how many requests below go through them at which replica."""

    __slots__ = ("children", "hashes", "requests")

    def __init__(self, hashes: BlockHashes, requests: Counter[int], children: "dict[int, _Edge]"):
        self.hashes = hashes
        self.requests = requests
        self.children = children


class Flights:
    """Prefixes in flight: a tree of block hashes, cut where two of them part."""

    def __init__(self) -> None:
        self._root = _Edge(np.zeros(0, np.uint64), Counter(), {})

    def add(self, replica: int, hashes: BlockHashes) -> None:
        """A request with these blocks was placed."""
        edge, at = self._root, 0
        while at < len(hashes):
            below = edge.children.get(int(hashes[at]))
            if below is None:
                edge.children[int(hashes[at])] = _Edge(hashes[at:], Counter({replica: 1}), {})
                return
            common = _common(below.hashes, hashes[at:])
            if common < len(below.hashes):
                _cut(below, common)
            below.requests[replica] += 1
            edge, at = below, at + common

    def remove(self, replica: int, hashes: BlockHashes) -> None:
        """A request that was added has ended."""
        path, at = [self._root], 0
        while at < len(hashes):
            path.append(path[-1].children[int(hashes[at])])
            at += len(path[-1].hashes)
        for parent, edge in reversed(list(pairwise(path))):
            edge.requests[replica] -= 1
            if not edge.requests[replica]:
                del edge.requests[replica]
            if not edge.requests:
                del parent.children[int(edge.hashes[0])]
            elif len(edge.children) == 1:
                _join(edge)

    def depths(self, hashes: BlockHashes, replicas: int) -> Depths:
        """How many blocks from the first on each replica is computing, for replicas 0 to ``replicas`` - 1."""
        depths = np.zeros(replicas, np.int64)
        edge, at = self._root, 0
        while at < len(hashes):
            below = edge.children.get(int(hashes[at]))
            if below is None:
                break
            common = _common(below.hashes, hashes[at:])
            at += common
            depths[list(below.requests)] = at
            if common < len(below.hashes):
                break
            edge = below
        return depths

    def edges(self) -> int:
        """How many pieces the tree is cut into."""
        count, stack = 0, [self._root]
        while stack:
            children = stack.pop().children.values()
            count += len(children)
            stack.extend(children)
        return count


def _common(a: BlockHashes, b: BlockHashes) -> int:
    """How many leading blocks two prefixes share."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size


def _cut(edge: _Edge, at: int) -> None:
    """Make two edges of one, the lower of which begins at ``at``."""
    lower = _Edge(edge.hashes[at:], edge.requests.copy(), edge.children)
    edge.hashes, edge.children = edge.hashes[:at], {int(lower.hashes[0]): lower}


def _join(edge: _Edge) -> None:
    """Take in an only child that the same requests go through."""
    (child,) = edge.children.values()
    if child.requests == edge.requests:
        edge.hashes, edge.children = np.concatenate((edge.hashes, child.hashes)), child.children
