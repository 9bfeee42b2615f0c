"""The radix tree over token ids, one per namespace: structure only, no policy and no accounting.

Units: positions and lengths are tokens; edges are packed tokens (see tokens.py).

Where nodes begin: always at a multiple of the block size. An edge is a whole number of blocks, except that a *stub*, a
leaf shorter than one block, keeps the rest of a sequence. Children are found by their first block (a stub by all it has).

What a node holds, from the left:   |-- ready --|-- in flight --|-- ghost --|
                                     readable     has blocks      tokens only
``planned`` lies between ready and the end of the blocks: what the step now being built will have computed.
A node has blocks only if its parent has all of its own, and is ready only if its parent is wholly ready.
"""

import bisect
from dataclasses import dataclass

import numpy as np

from foreword.cache.pool import Blocks
from foreword.cache.tokens import TOKEN_BYTES, common_tokens

NO_BLOCKS: Blocks = np.empty(0, np.int32)


class Node:
    """An edge and what is below it."""

    __slots__ = (
        "blocks",
        "children",
        "copier",
        "holders",
        "last_use",
        "parent",
        "planned",
        "ready",
        "resident",
        "start",
        "ticket",
        "tokens",
    )

    def __init__(self, parent: "Node | None", tokens: bytes, start: int, blocks: Blocks, ready: int):
        self.parent = parent
        self.tokens = tokens
        self.start = start
        self.blocks = blocks
        self.ready = ready
        self.planned = ready
        self.holders = 0
        self.last_use = 0.0
        self.ticket = 0  # of the eviction queue
        self.copier: object | None = None  # the reservation that will copy the first tokens of this edge
        self.children: dict[bytes, Node] = {}
        self.resident: list[bytes] = []  # keys of the children that have blocks, sorted

    @property
    def length(self) -> int:
        return len(self.tokens) // TOKEN_BYTES

    @property
    def end(self) -> int:
        return self.start + len(self.tokens) // TOKEN_BYTES

    @property
    def root(self) -> "Root":
        node: Node = self
        while node.parent is not None:
            node = node.parent
        assert isinstance(node, Root)
        return node


@dataclass(slots=True)
class Walk:
    """How far a query goes down the tree, ghosts included.

    ``node`` is the deepest wholly matched node, ``edge`` the child of which only the first ``common`` tokens match (at
    least one block), or None; ``end`` is the position where the match by whole blocks and edges ends.
    """

    node: Node
    edge: Node | None
    common: int
    end: int


class Root(Node):
    """Where a namespace begins. A retired root is no longer found; it goes when its last holder lets go."""

    __slots__ = ("key", "retired")

    def __init__(self, key: bytes):
        super().__init__(None, b"", 0, NO_BLOCKS, 0)
        self.key = key
        self.retired = False


class RadixTree:
    """One tree per namespace, all of one block size."""

    def __init__(self, block_size: int):
        self.block_size = block_size
        self.width = block_size * TOKEN_BYTES
        self.roots: dict[bytes, Root] = {}
        self.node_count = 0

    def root(self, key: bytes) -> Root:
        """The root of a namespace, made when it is new."""
        root = self.roots.get(key)
        if root is None:
            root = self.roots[key] = Root(key)
        return root

    def walk(self, root: Node, query: bytes) -> Walk:
        """Follow the query down from a root; changes nothing."""
        width = self.width
        node, at = root, 0
        while True:
            child = node.children.get(query[at : at + width])
            if child is None:
                return Walk(node, None, 0, at // TOKEN_BYTES)
            edge = child.tokens
            if not query.startswith(edge, at):
                common = common_tokens(query[at : at + len(edge)], edge)
                return Walk(node, child, common, at // TOKEN_BYTES + common)
            at += len(edge)
            node = child

    def nearest(self, node: Node, rest: bytes) -> tuple[Node | None, int]:
        """The child with blocks whose first block shares most tokens with ``rest``, and how many (0 is possible).

        In a sorted list the key with the longest common prefix stands beside the place of the query.
        """
        keys = node.resident
        if not keys:
            return None, 0
        rest = rest[: self.width]
        place = bisect.bisect_left(keys, rest)
        best, shared = None, -1
        for key in keys[max(place - 1, 0) : place + 1]:
            common = common_tokens(rest, key)
            if common > shared:
                best, shared = key, common
        assert best is not None
        return node.children[best], shared

    def attach(self, parent: Node, tokens: bytes, blocks: Blocks, ready: int) -> Node:
        """A new child with blocks."""
        node = Node(parent, tokens, parent.end, blocks, ready)
        key = tokens[: self.width]
        parent.children[key] = node
        bisect.insort(parent.resident, key)
        self.node_count += 1
        return node

    def detach(self, node: Node) -> None:
        """Take a childless node out of the tree. It keeps its parent, so that its position can still be asked."""
        parent = node.parent
        assert parent is not None and not node.children
        key = node.tokens[: self.width]
        del parent.children[key]
        self.node_count -= 1
        if len(node.blocks):
            self._forget_resident(parent, key)

    def mark_ghost(self, node: Node) -> None:
        """The node has just lost its last block."""
        assert node.parent is not None
        self._forget_resident(node.parent, node.tokens[: self.width])

    def mark_resident(self, node: Node) -> None:
        """The node has just got its first block."""
        assert node.parent is not None
        bisect.insort(node.parent.resident, node.tokens[: self.width])

    def _forget_resident(self, parent: Node, key: bytes) -> None:
        del parent.resident[bisect.bisect_left(parent.resident, key)]

    def split(self, node: Node, offset: int) -> Node:
        """Cut an edge after ``offset`` tokens, a multiple of the block size; returns the new upper node.

        The lower part keeps its identity, so that whoever holds it still does.
        """
        parent = node.parent
        assert parent is not None and offset % self.block_size == 0
        cut, blocks = offset * TOKEN_BYTES, offset // self.block_size
        upper = Node(parent, node.tokens[:cut], node.start, node.blocks[:blocks], min(node.ready, offset))
        upper.planned = min(node.planned, offset)
        upper.holders = node.holders
        upper.last_use = node.last_use
        parent.children[upper.tokens[: self.width]] = upper
        node.parent = upper
        node.tokens = node.tokens[cut:]
        node.start += offset
        node.blocks = node.blocks[blocks:]
        node.ready = max(0, node.ready - offset)
        node.planned = max(0, node.planned - offset)
        key = node.tokens[: self.width]
        self.node_count += 1
        upper.children[key] = node
        if len(node.blocks):
            upper.resident.append(key)
        return upper


def ready_end(node: Node) -> int:
    """Position up to which the path to this node is readable."""
    while node.ready == 0 and node.parent is not None:
        node = node.parent
    return node.start + node.ready


def first_unplanned(node: Node) -> tuple[int, Node]:
    """Position up to which the path to this node is computed or about to be, and the node that position is on."""
    below = node
    while node.planned == 0 and node.parent is not None:
        below = node
        node = node.parent
    return node.start + node.planned, below if node.planned == node.length else node
