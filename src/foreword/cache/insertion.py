"""Insertion: tokens enter the tree, in flight when a prompt is reserved, computed when its request lets go.

Where the private part of a prompt begins within an edge the edge is cut in two: what is everyone's, in whole blocks, and a
door (tree.py).
"""

from foreword.cache.namespace import PrivatePart
from foreword.cache.pool import BlockPool, Blocks
from foreword.cache.reservation import Hold
from foreword.cache.residency import Residency
from foreword.cache.tree import Node, RadixTree, child_key
from foreword.tokens import TOKEN_BYTES, common_with_edge


class Insertion:
    """How tokens enter the tree."""

    def __init__(self, tree: RadixTree, pool: BlockPool, residency: Residency):
        self._tree = tree
        self._pool = pool
        self._residency = residency
        self._size = tree.block_size

    def enter(self, hold: Hold, node: Node, blocks: Blocks) -> None:
        """Enter the rest of a prompt below ``node``, in flight; what an adopted block holds already is readable."""
        rest, private = memoryview(hold.tokens)[node.end * TOKEN_BYTES :], hold.private
        if private is not None and (public := self._public_blocks(node.end, len(rest), private)):
            cut = public * self._tree.width
            node = self._attach(hold, node, rest[:cut], blocks[:public])
            rest, blocks = rest[cut:], blocks[public:]
        leaf = self._attach(hold, node, rest, blocks)
        hold.node, hold.shared_end = leaf, leaf.end
        hold.open_end = leaf.end % self._size > 0

    def leave(self, hold: Hold, generated: bytes, now: float) -> Node | None:
        """A request lets go: enter what it has computed beyond its path, and free the blocks that are not entered.

        Returns the node that it holds now: where its own open end was taken back, the one above. None: it had none.
        """
        base = hold.node
        if base is None:
            self._pool.free(hold.blocks)
            return None
        if hold.open_end and not self._is_final(base, hold.computed):
            base = self._take_back_open_end(base)
        tail = hold.blocks[-(-base.end // self._size) :]
        if hold.computed > base.end and not base.root.retired:
            self._insert(base, hold.tail(base.end, generated), tail, hold.private, now)
        elif tail:
            self._pool.free(tail)
        return base

    def _attach(self, hold: Hold, parent: Node, tokens: memoryview, blocks: Blocks) -> Node:
        """A new edge that one request holds."""
        node = self._tree.attach(parent, tokens, blocks, hold.private)
        node.holders = node.uses = 1
        if hold.computed > node.start:
            self._residency.mark_ready(node, min(hold.computed, node.end))
        return node

    def _public_blocks(self, start: int, length: int, private: PrivatePart) -> int:
        """Of tokens from position ``start`` on (``length`` bytes), how many whole blocks stand before a door among them."""
        if private.start * TOKEN_BYTES >= start * TOKEN_BYTES + length:
            return 0
        return max(0, (private.start - start) // self._size)

    def _is_final(self, leaf: Node, computed: int) -> bool:
        """Whether a request's own open end can stay as it is: all of it computed, nothing after it, nothing beside it."""
        assert leaf.parent is not None
        alone = leaf.end - leaf.start >= self._size or len(leaf.parent.resident) == 1
        return alone and leaf.end == computed == leaf.ready

    def _take_back_open_end(self, leaf: Node) -> Node:
        """Take a request's last, begun block out of the tree, so that it can be entered again with all that is in it.

        Returns the node above it.
        """
        whole = leaf.end // self._size * self._size
        if leaf.start < whole:
            self._residency.split(leaf, whole)
        assert leaf.parent is not None
        self._residency.take_out(leaf)
        return leaf.parent

    def _insert(self, node: Node, tokens: bytes, blocks: Blocks, private: PrivatePart | None, now: float) -> None:
        """Enter computed tokens below a held node; blocks with a content that is there already are freed."""
        width, size = self._tree.width, self._size
        while len(tokens) >= width:
            child = node.children.get(child_key(tokens[:width], node.end, private))
            if child is None:
                break
            full = common_with_edge(tokens, 0, child.edge) // size
            if private is not None and (public := self._public_blocks(node.end, len(tokens), private)):
                full = min(full, public)
            if child.ready < min(child.start + full * size, child.backed):
                self._pool.free(blocks)  # another request is just computing the same and will enter it
                return
            if child.start + full * size < child.end:
                child = self._residency.split(child, child.start + full * size)
            have = len(child.blocks)
            self._pool.free(blocks[:have])
            if have < full:
                self._residency.revive(child, blocks[have:full])
                self._residency.mark_ready(child, child.end)
            self._residency.touch(child, now)
            node, tokens, blocks = child, tokens[full * width :], blocks[full:]
        if private is not None and (public := self._public_blocks(node.end, len(tokens), private)):
            node = self._residency.add(node, tokens[: public * width], blocks[:public], private, now)
            tokens, blocks = tokens[public * width :], blocks[public:]
        used = -(-len(tokens) // width)
        if len(tokens) >= width:
            self._residency.add(node, tokens, blocks[:used], private, now)
        elif tokens:
            self._insert_stub(node, tokens, blocks[:used], private, now)
        if len(blocks) > used:
            self._pool.free(blocks[used:])

    def _insert_stub(self, node: Node, tokens: bytes, block: Blocks, private: PrivatePart | None, now: float) -> None:
        """Enter less than a block; a shorter stub that it continues goes, and it goes itself if another continues it."""
        nearest, common = self._tree.nearest(node, child_key(tokens, node.end, private))
        if nearest is not None and common * TOKEN_BYTES == len(tokens):
            self._pool.free(block)
            return
        if nearest is not None and common == nearest.end - nearest.start and nearest.holders == 0:
            self._residency.remove(nearest)
        self._residency.add(node, tokens, block, private, now)
