"""The radix tree over token ids, one per namespace: structure only, no policy and no accounting.

Units: positions are tokens from the beginning of the prompt, never of the edge; edges are packed tokens (see tokens.py).

Where nodes begin: always at a multiple of the block size. A leaf may have an *open end*, within a block: the end of a
sequence. A *stub* is a leaf shorter than one block. Children are found by their first block (a stub by all it has).

Where a prompt becomes its owner's alone (PrivatePart, in namespace.py), its path goes through a *door*: the node that begins
with the block in which the first private token lies, found by that block with the owner's key put into it:

    key of a block that is everyone's      t t t t
    key of a door                          t t [owner's key] p p      (t: everyone's tokens, p: private ones)

So nobody else can reach a door, or what is below it, while its public tokens are shared as those of any block are: in keys,
neighbours in order still share most, and what two keys share ends before the owner's key. Edges hold true tokens only.

An edge is a view of the text that brought it in, mostly of a whole prompt; only a small part of a text is copied.

What an edge holds:    start  |-- readable --|-- in flight --|-- ghost --|  end
                                           ready          backed
                                          (KV is there)   (has blocks)    (tokens only)

``planned`` lies between ready and backed: up to there the step now being built will have computed. What is in flight may
also be under way from a lower tier (``load``): then nobody computes it. Up to ``stored`` a lower tier has the tokens, or is
being given them.
A node is backed only if its parent is wholly backed, and ready only if its parent is wholly ready.
"""

import bisect
from array import array

from foreword.cache.actions import LoadBlocks
from foreword.cache.namespace import Namespace, PrivatePart
from foreword.cache.pool import BLOCK_ID, Blocks
from foreword.tokens import NO_TOKEN, TOKEN_BYTES, common_tokens, common_with_edge

TEXT_SLACK = 4  # an edge keeps a text of up to so many times its own length
NO_BLOCKS: Blocks = array(BLOCK_ID)


class Node:
    """An edge and what is below it; its positions are those of the drawing above."""

    __slots__ = (
        "answer",
        "backed",
        "blocks",
        "children",
        "copier",
        "edge",
        "end",
        "ended",
        "fresh",
        "given",
        "goes_on",
        "group",
        "holders",
        "key",
        "last_use",
        "load",
        "marks",
        "noted",
        "parent",
        "planned",
        "private",
        "ready",
        "resident",
        "start",
        "stored",
        "ticket",
        "uses",
    )

    def __init__(self, parent: "Node | None", key: bytes, edge: memoryview, start: int, blocks: Blocks):
        self.parent = parent
        self.key = key  # under which the parent finds it: its first block, or all of it; of a door with the owner's key
        self.private: PrivatePart | None = None  # of a door: whose it is, and from where
        self.edge = edge  # packed tokens
        self.start = self.ready = self.planned = self.stored = start
        self.backed = self.end = start + len(edge) // TOKEN_BYTES
        self.blocks = blocks  # of the tokens [start, backed)
        self.holders = 0  # reservations whose path goes through this node
        self.last_use = 0.0  # seconds of the caller's clock
        self.uses = 0  # how often it was held or entered, in vain not counted
        self.fresh = 0  # tokens that its last use brought anew, on the whole path
        self.answer = False  # its last use was to enter it, behind the prompt of its request
        self.goes_on = False  # at its last use the client said so of its conversation; see conversation.py
        self.group = 0  # of the eviction policy
        self.noted = False  # whether a policy that learns has been told of a use
        self.given = 0.0  # when a lower tier was given it last, of the same clock
        self.marks = 0  # marked prefixes that keep this node; see marks.py
        self.ended = False  # its conversation is over, as its client said; see conversation.py
        self.ticket = 0  # of the eviction queue: an entry with another ticket is stale
        self.copier: object | None = None  # the reservation that will copy the first tokens of this edge
        self.load: LoadBlocks | None = None  # brings what is not readable up to its end
        self.children: dict[bytes, Node] = {}
        self.resident: list[bytes] = []  # keys of the children that have blocks, sorted

    def tokens(self, start: int, end: int) -> bytes:
        """Packed tokens of the edge between two positions; what lies beyond its end is left out."""
        return self.edge[(start - self.start) * TOKEN_BYTES : (end - self.start) * TOKEN_BYTES].tobytes()

    def cut_edge(self, end: int) -> None:
        """Forget the tokens from position ``end`` on."""
        self.edge = fitted(self.edge[: (end - self.start) * TOKEN_BYTES])
        self.end = end
        self.stored = min(self.stored, end)

    @property
    def door(self) -> "PrivatePart | None":
        """Whose this node is; None: everyone's."""
        node: Node | None = self
        while node is not None and node.private is None:
            node = node.parent
        return None if node is None else node.private

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

    __slots__ = ("namespace", "retired")

    def __init__(self, key: bytes):
        super().__init__(None, key, memoryview(b""), 0, NO_BLOCKS)
        self.namespace: Namespace | None = None
        self.retired = False

    @property
    def unused(self) -> bool:
        """Whether nothing is in it, holds it or is marked in it."""
        return not (self.children or self.holders or self.marks)


class RadixTree:
    """One tree per namespace, all of one block size."""

    def __init__(self, block_size: int):
        self.block_size = block_size
        self.width = block_size * TOKEN_BYTES
        self.roots: dict[bytes, Root] = {}
        self.node_count = 0
        self.version = 0  # another one after every change that a look-up could see

    def root(self, key: bytes) -> Root:
        """The root of a namespace, made when it is new."""
        root = self.roots.get(key)
        if root is None:
            root = self.roots[key] = Root(key)
        return root

    def drop_unused_roots(self) -> None:
        """Take out the roots in which nothing is."""
        self.roots = {key: root for key, root in self.roots.items() if not root.unused}
        self.version += 1

    def drop_all_roots(self) -> None:
        """No namespace is found any more."""
        self.roots.clear()
        self.version += 1

    def walk(self, root: Node, query: bytes, private: PrivatePart | None = None) -> tuple[Node, int]:
        """Follow the query down from a root, ghosts included; changes nothing.

        Returns the deepest node of which at least the first block matches, and the position where the match ends. A
        part of a block counts only in the middle of an edge: what a child shares of its first block is not looked at.
        """
        width = self.width
        node, at = root, 0
        while True:
            key = query[at : at + width]
            if private is not None:
                key = child_key(key, at // TOKEN_BYTES, private)
            child = node.children.get(key)
            if child is None:
                return node, at // TOKEN_BYTES
            edge = child.edge
            if private is not None and child.start < private.start < child.end and child.private is None:
                common = common_with_edge(query, at, edge)  # what is everyone's goes on beyond the private part's beginning
                return child, min(child.start + common, private.start)
            if not query.startswith(edge, at):
                return child, at // TOKEN_BYTES + common_with_edge(query, at, edge)
            at += len(edge)
            node = child

    def nearest(self, node: Node, rest: bytes) -> tuple[Node | None, int]:
        """The child with blocks whose first block shares most tokens with ``rest``, and how many (0 is possible).

        ``rest`` is a key, of at most a block (see child_key). In a sorted list the key with the longest common prefix
        stands beside the place of the query.
        """
        keys = node.resident
        if not keys:
            return None, 0
        place = bisect.bisect_left(keys, rest)
        best, shared = b"", -1
        for key in keys[place - 1 if place else 0 : place + 1]:
            common = common_tokens(rest, key)
            if common > shared:
                best, shared = key, common
        child = node.children[best]
        if child.private is not None:
            public = child.private.start - child.start
            if shared > public:  # the owner is the same
                shared = max(public, shared - len(child.private.key) // TOKEN_BYTES)
        return child, shared

    def attach(self, parent: Node, edge: memoryview, blocks: Blocks, private: PrivatePart | None = None) -> Node:
        """A new child with all its blocks, in flight; a door if the private part begins in its first block."""
        first = edge[: self.width].tobytes()
        key = first if private is None else child_key(first, parent.end, private)
        node = Node(parent, key, fitted(edge), parent.end, blocks)
        if key is not first:
            node.private = private
        parent.children[key] = node
        bisect.insort(parent.resident, key)
        self.node_count += 1
        self.version += 1
        return node

    def detach(self, node: Node) -> None:
        """Take a childless node out of the tree. It keeps its parent, so that its position can still be asked."""
        parent = node.parent
        assert parent is not None and not node.children
        del parent.children[node.key]
        self.node_count -= 1
        self.version += 1
        if node.backed > node.start:
            self.mark_ghost(node)

    def mark_ghost(self, node: Node) -> None:
        """The node has just lost its last block."""
        assert node.parent is not None
        keys = node.parent.resident
        del keys[bisect.bisect_left(keys, node.key)]
        self.version += 1

    def mark_resident(self, node: Node) -> None:
        """The node has just got its first block."""
        assert node.parent is not None
        bisect.insort(node.parent.resident, node.key)
        self.version += 1

    def split(self, node: Node, at: int) -> Node:
        """Cut an edge at a position that is a multiple of the block size; returns the new upper node.

        The lower part keeps its identity, so that whoever holds it still does.
        """
        parent, offset = node.parent, at - node.start
        assert parent is not None and offset % self.block_size == 0
        cut, blocks = offset * TOKEN_BYTES, offset // self.block_size
        upper = Node(parent, node.key, fitted(node.edge[:cut]), node.start, node.blocks[:blocks])
        upper.ready = node.ready if node.ready < at else at
        upper.planned = node.planned if node.planned < at else at
        upper.backed = node.backed if node.backed < at else at
        upper.stored = node.stored if node.stored < at else at
        upper.holders, upper.last_use, upper.marks = node.holders, node.last_use, node.marks
        upper.uses, upper.fresh, upper.group, upper.noted = node.uses, node.fresh, node.group, node.noted
        upper.answer, upper.goes_on = node.answer, node.goes_on
        upper.given, upper.ended = node.given, node.ended
        upper.load = node.load if node.load is not None and node.load.start < at else None
        upper.copier, node.copier = node.copier, None
        upper.private, node.private = node.private, None
        parent.children[upper.key] = upper
        node.parent, node.start = upper, at
        node.edge, node.blocks = fitted(node.edge[cut:]), node.blocks[blocks:]
        node.ready = node.ready if node.ready > at else at
        node.planned = node.planned if node.planned > at else at
        node.backed = node.backed if node.backed > at else at
        node.stored = node.stored if node.stored > at else at
        if node.load is not None and node.load.until <= at:
            node.load = None
        key = node.key = node.edge[: self.width].tobytes()
        upper.children[key] = node
        if node.backed > at:
            upper.resident.append(key)
        self.node_count += 1
        self.version += 1
        return upper


def child_key(first: bytes, start: int, private: PrivatePart | None) -> bytes:
    """Under which key a child stands that begins at position ``start`` with the tokens ``first``, at most a block.

    The tokens; if the private part begins among them, with the owner's key before the first private one.
    """
    if private is None:
        return first
    cut = (private.start - start) * TOKEN_BYTES
    return first[:cut] + private.key + first[cut:] if 0 <= cut < len(first) else first


def key_tokens(key: bytes) -> int:
    """How many tokens a key has, the owner's key left out."""
    at = key.find(NO_TOKEN)
    if at < 0:
        return len(key) // TOKEN_BYTES
    length = int.from_bytes(key[at + TOKEN_BYTES : at + 2 * TOKEN_BYTES], "big")
    return len(key) // TOKEN_BYTES - 2 - -(-length // TOKEN_BYTES)


def fitted(edge: memoryview) -> memoryview:
    """The same tokens, copied if the text they are part of is so long that keeping it would waste memory."""
    text = edge.obj
    assert isinstance(text, bytes)
    return memoryview(edge.tobytes()) if len(text) > TEXT_SLACK * len(edge) else edge


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


def lacking_nodes(node: Node) -> list[Node]:
    """The nodes of the path to this node, topmost first, that lack blocks."""
    lacking: list[Node] = []
    current: Node | None = node
    while current is not None and current.backed < current.end:
        lacking.append(current)
        current = current.parent
    lacking.reverse()
    return lacking


def path_blocks(node: Node) -> Blocks:
    """The blocks from the root down to this node."""
    blocks = node.blocks
    while node.parent is not None:
        node = node.parent
        blocks = node.blocks + blocks
    return blocks
