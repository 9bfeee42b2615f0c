"""What replicas are about to have: the prefixes of requests that were placed and have not ended, as a tree.

A hash stands for all blocks up to its own, so where two prefixes have one hash in common they have all those before it.
"""

from itertools import pairwise

import numpy as np

from foreword.routing.reach import Reach
from foreword.routing.records import BlockHashes


class _Edge:
    """Consecutive blocks, and how many requests below go through them at which replica; ``replicas``: those, as a mask."""

    __slots__ = ("children", "hashes", "replicas", "requests")

    def __init__(self, hashes: BlockHashes, requests: dict[int, int], replicas: int, children: "dict[int, _Edge]"):
        self.hashes = hashes
        self.requests = requests
        self.replicas = replicas
        self.children = children


class Flights:
    """Prefixes in flight: a tree of block hashes, cut where two of them part."""

    def __init__(self) -> None:
        self._root = _Edge(np.zeros(0, np.uint64), {}, 0, {})

    def add(self, replica: int, hashes: BlockHashes) -> None:
        """A request with these blocks was placed."""
        edge, at = self._root, 0
        while at < len(hashes):
            below = edge.children.get(hashes.item(at))
            if below is None:
                edge.children[hashes.item(at)] = _Edge(hashes[at:], {replica: 1}, 1 << replica, {})
                return
            common = _common(below.hashes, hashes, at)
            if common < len(below.hashes):
                _cut(below, common)
            below.requests[replica] = below.requests.get(replica, 0) + 1
            below.replicas |= 1 << replica
            edge, at = below, at + common

    def remove(self, replica: int, hashes: BlockHashes) -> None:
        """A request that was added has ended."""
        path, at = [self._root], 0
        while at < len(hashes):
            path.append(path[-1].children[hashes.item(at)])
            at += len(path[-1].hashes)
        for parent, edge in reversed(list(pairwise(path))):
            edge.requests[replica] -= 1
            if not edge.requests[replica]:
                del edge.requests[replica]
                edge.replicas ^= 1 << replica
            if not edge.requests:
                del parent.children[int(edge.hashes[0])]
            elif len(edge.children) == 1:
                _join(edge)

    def reach(self, hashes: BlockHashes) -> Reach:
        """How far into a prompt replicas are computing it."""
        reach, edge, at = Reach(), self._root, 0
        while at < len(hashes):
            below = edge.children.get(hashes.item(at))
            if below is None:
                break
            common = _common(below.hashes, hashes, at)
            at += common
            reach.append((at, below.replicas))
            if common < len(below.hashes):
                break
            edge = below
        return reach

    def edges(self) -> int:
        """How many pieces the tree is cut into."""
        count, stack = 0, [self._root]
        while stack:
            children = stack.pop().children.values()
            count += len(children)
            stack.extend(children)
        return count


def _common(edge: BlockHashes, hashes: BlockHashes, at: int) -> int:
    """How many leading blocks of an edge a prefix has from ``at`` on; they have the first one."""
    size = min(len(edge), len(hashes) - at)
    if edge.item(size - 1) == hashes.item(at + size - 1):
        return size
    return int((edge[:size] != hashes[at : at + size]).argmax())


def _cut(edge: _Edge, at: int) -> None:
    """Make two edges of one, the lower of which begins at ``at``."""
    lower = _Edge(edge.hashes[at:], edge.requests.copy(), edge.replicas, edge.children)
    edge.hashes, edge.children = edge.hashes[:at], {int(lower.hashes[0]): lower}


def _join(edge: _Edge) -> None:
    """Take in an only child that the same requests go through."""
    (child,) = edge.children.values()
    if child.requests == edge.requests:
        edge.hashes, edge.children = np.concatenate((edge.hashes, child.hashes)), child.children
