"""Continuations: what followed a running request's tokens before, read off the tree. Nothing here changes anything.

Who looks sees what a look-up of the same prompt would see: its own namespace, and beyond the beginning of its private part
only what is its owner's.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

from foreword.cache.namespace import PrivatePart
from foreword.cache.reservation import Holds, Reservation
from foreword.cache.tree import Node, RadixTree, child_key
from foreword.tokens import TOKEN_BYTES

LOOKED_AT = 16
"""Where a path divides, so many branches are looked at, that the time of a look stays bounded."""


class Continuations:
    """What stands in the tree behind the tokens of reservations. Ghosts count: their tokens are known, whatever their KV."""

    def __init__(self, tree: RadixTree, holds: Holds):
        self._tree = tree
        self._holds = holds

    @property
    def version(self) -> int:
        """Another one whenever something may stand there that did not."""
        return self._tree.version

    def after(self, reservation: Reservation, generated: bytes, most: int) -> bytes:
        """Up to ``most`` packed tokens that followed a request's prompt and what it has ``generated`` (packed) behind it.

        Where the path divides, the branch that was used last is read. Empty where the tree has nothing behind them.
        """
        hold = self._holds[reservation]
        node, size = hold.node, self._tree.block_size
        if node is None:
            return b""
        if node.end % size:
            if node.end - node.start >= size or node.parent is None:
                return b""  # nobody has come as far as its last block before
            node = node.parent
        rest = hold.tokens[node.end * TOKEN_BYTES :] + generated
        return self._read(node, rest, hold.private, most * TOKEN_BYTES)

    def _read(self, node: Node, rest: bytes, private: PrivatePart | None, most: int) -> bytes:
        """Follow ``rest`` down from a node, then read up to ``most`` bytes on."""
        found = b""
        while len(found) < most:
            child = self._child(node, rest, private)
            if child is None:
                break
            edge, visible = child.edge, _visible(child, private)
            if len(rest) >= len(edge) == visible:
                if not rest.startswith(edge):
                    break
                node, rest = child, rest[len(edge) :]
                continue
            if len(rest) >= visible or edge[: len(rest)].tobytes() != rest:
                break
            found += edge[len(rest) : min(visible, len(rest) + most - len(found))].tobytes()
            if visible < len(edge):
                break
            node, rest = child, b""
        return found

    def _child(self, node: Node, rest: bytes, private: PrivatePart | None) -> Node | None:
        """The child that goes on with ``rest``: with all of a first block, else the one used last of those that may."""
        width = self._tree.width
        if len(rest) >= width:
            return node.children.get(child_key(rest[:width], node.end, private))
        begins = child_key(rest, node.end, private)
        children = [
            child
            for child in (self._beginning(node, begins) if rest else islice(reversed(node.children.values()), LOOKED_AT))
            if child.private in (None, private) and _visible(child, private) > len(rest)
        ]
        return max(children, key=lambda child: child.last_use, default=None)

    def _beginning(self, node: Node, begins: bytes) -> Iterator[Node]:
        """Children with blocks whose keys begin so."""
        keys = node.resident
        place = bisect_left(keys, begins)
        for key in keys[place : place + LOOKED_AT]:
            if not key.startswith(begins):
                return
            yield node.children[key]


def _visible(child: Node, private: PrivatePart | None) -> int:
    """How many bytes of an edge are to be seen: of everyone's no more than up to where the private part begins."""
    if private is None or child.end <= private.start or child.door == private:
        return len(child.edge)
    return max(0, private.start - child.start) * TOKEN_BYTES
