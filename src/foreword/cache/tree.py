"""The radix tree over token ids, one per namespace: structure only, no policy and no accounting.

Units: positions are tokens from the beginning of the prompt, never of the edge; edges are packed tokens (see tokens.py).

Where nodes begin: always at a multiple of the block size. An edge is a whole number of blocks, except that a *stub*, a
leaf shorter than one block, keeps the rest of a sequence. Children are found by their first block (a stub by all it has).

What an edge holds:    start  |-- readable --|-- in flight --|-- ghost --|  end
                                           ready          backed
                                          (KV is there)   (has blocks)    (tokens only)

``planned`` lies between ready and backed: up to there the step now being built will have computed.
A node is backed only if its parent is wholly backed, and ready only if its parent is wholly ready.
"""

import bisect

import numpy as np

from foreword.cache.pool import Blocks
from foreword.cache.tokens import TOKEN_BYTES, common_tokens, common_with_edge

NO_BLOCKS: Blocks = np.empty(0, np.int32)


class Node:
    """An edge and what is below it; its positions are those of the drawing above."""

    __slots__ = (
        "backed",
        "blocks",
        "children",
        "copier",
        "end",
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

    def __init__(self, parent: "Node | None", tokens: bytes, start: int, backed: int, blocks: Blocks):
        self.parent = parent
        self.tokens = tokens
        self.start = self.ready = self.planned = start
        self.backed = backed
        self.end = start + len(tokens) // TOKEN_BYTES
        self.blocks = blocks  # of the tokens [start, backed)
        self.holders = 0  # reservations whose path goes through this node
        self.last_use = 0.0  # seconds of the caller's clock
        self.ticket = 0  # of the eviction queue: an entry with another ticket is stale
        self.copier: object | None = None  # the reservation that will copy the first tokens of this edge
        self.children: dict[bytes, Node] = {}
        self.resident: list[bytes] = []  # keys of the children that have blocks, sorted

    @property
    def root(self) -> "Root":
        """Where the path to this node begins."""
        node: Node = self
        while node.parent is not None:
            node = node.parent
        assert isinstance(node, Root)
        return node


class Root(Node):
    """Where a namespace begins. A retired root is no longer found; it goes when its last holder lets go."""

    __slots__ = ("key", "retired")

    def __init__(self, key: bytes):
        super().__init__(None, b"", 0, 0, NO_BLOCKS)
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

    def walk(self, root: Node, query: bytes) -> tuple[Node, int]:
        """Follow the query down from a root, ghosts included; changes nothing.

        Returns the deepest node of which at least the first block matches, and the position where the match ends. A
        part of a block counts only in the middle of an edge: what a child shares of its first block is not looked at.
        """
        width = self.width
        node, at = root, 0
        while True:
            child = node.children.get(query[at : at + width])
            if child is None:
                return node, at // TOKEN_BYTES
            edge = child.tokens
            if not query.startswith(edge, at):
                return child, at // TOKEN_BYTES + common_with_edge(query, at, edge)
            at += len(edge)
            node = child

    def nearest(self, node: Node, rest: bytes) -> tuple[Node | None, int]:
        """The child with blocks whose first block shares most tokens with ``rest``, and how many (0 is possible).

        ``rest`` is at most a block long. In a sorted list the key with the longest common prefix stands beside the
        place of the query.
        """
        keys = node.resident
        if not keys:
            return None, 0
        place = bisect.bisect_left(keys, rest)
        best, shared = b"", -1
        for key in keys[max(place - 1, 0) : place + 1]:
            common = common_tokens(rest, key)
            if common > shared:
                best, shared = key, common
        return node.children[best], shared

    def attach(self, parent: Node, tokens: bytes, blocks: Blocks) -> Node:
        """A new child with all its blocks, in flight."""
        start = parent.end
        node = Node(parent, tokens, start, start + len(tokens) // TOKEN_BYTES, blocks)
        key = tokens[: self.width]
        parent.children[key] = node
        bisect.insort(parent.resident, key)
        self.node_count += 1
        return node

    def detach(self, node: Node) -> None:
        """Take a childless node out of the tree. It keeps its parent, so that its position can still be asked."""
        parent = node.parent
        assert parent is not None and not node.children
        del parent.children[node.tokens[: self.width]]
        self.node_count -= 1
        if node.backed > node.start:
            self.mark_ghost(node)

    def mark_ghost(self, node: Node) -> None:
        """The node has just lost its last block."""
        assert node.parent is not None
        keys = node.parent.resident
        del keys[bisect.bisect_left(keys, node.tokens[: self.width])]

    def mark_resident(self, node: Node) -> None:
        """The node has just got its first block."""
        assert node.parent is not None
        bisect.insort(node.parent.resident, node.tokens[: self.width])

    def split(self, node: Node, at: int) -> Node:
        """Cut an edge at a position that is a multiple of the block size; returns the new upper node.

        The lower part keeps its identity, so that whoever holds it still does.
        """
        parent, offset = node.parent, at - node.start
        assert parent is not None and offset % self.block_size == 0
        cut, blocks = offset * TOKEN_BYTES, offset // self.block_size
        upper = Node(parent, node.tokens[:cut], node.start, min(node.backed, at), node.blocks[:blocks])
        upper.ready, upper.planned = min(node.ready, at), min(node.planned, at)
        upper.holders, upper.last_use = node.holders, node.last_use
        upper.copier, node.copier = node.copier, None
        parent.children[upper.tokens[: self.width]] = upper
        node.parent = upper
        node.tokens, node.blocks = node.tokens[cut:], node.blocks[blocks:]
        node.start = at
        node.ready, node.planned, node.backed = max(node.ready, at), max(node.planned, at), max(node.backed, at)
        key = node.tokens[: self.width]
        upper.children[key] = node
        if node.backed > at:
            upper.resident.append(key)
        self.node_count += 1
        return upper


def ready_end(node: Node) -> int:
    """Position up to which the path to this node is readable."""
    while node.ready == node.start and node.parent is not None:
        node = node.parent
    return node.ready


def backed_end(node: Node) -> int:
    """Position up to which the path to this node has blocks."""
    while node.backed == node.start and node.parent is not None:
        node = node.parent
    return node.backed


def first_unplanned(node: Node) -> tuple[int, Node]:
    """Position up to which the path to this node is computed or about to be, and the node that position is on."""
    below = node
    while node.planned == node.start and node.parent is not None:
        below = node
        node = node.parent
    return node.planned, below if node.planned == node.end else node
