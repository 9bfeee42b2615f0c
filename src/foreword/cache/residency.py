"""Which nodes have blocks: holding, eviction, ghosts. The part of the cache that moves blocks between tree and pool."""

from collections.abc import Iterator

import numpy as np

from foreword.cache.eviction import EvictionPolicy, EvictionQueue, is_evictable
from foreword.cache.pool import BlockPool, Blocks
from foreword.cache.tokens import TOKEN_BYTES
from foreword.cache.tree import NO_BLOCKS, Node, RadixTree, Root
from foreword.events import BlockRemoved, BlockStored, EventSink


class Residency:
    """Keeps the books of the blocks in the tree.

    ``unheld_blocks`` counts the blocks of nodes that nobody holds: all of them can be evicted, leaf by leaf.
    An evicted edge leaves a ghost, its tokens without KV, up to ``ghost_limit`` tokens in all; the oldest go first.
    """

    def __init__(
        self, tree: RadixTree, pool: BlockPool, policy: EvictionPolicy, ghost_limit: int, events: EventSink | None
    ):
        self.tree = tree
        self.pool = pool
        self.queue = EvictionQueue(policy)
        self.ghost_limit = ghost_limit
        self.events = events
        self.ghosts: dict[Node, None] = {}  # in order of eviction
        self.ghost_tokens = 0
        self.unheld_blocks = 0
        self.evicted_tokens = 0

    def resident_tokens(self, node: Node) -> int:
        """Leading tokens of the edge that have blocks."""
        return min(len(node.blocks) * self.tree.block_size, node.length)

    def resident_end(self, node: Node) -> int:
        """Position up to which the path to this node has blocks."""
        while not len(node.blocks) and node.parent is not None:
            node = node.parent
        return node.start + self.resident_tokens(node)

    def hold(self, node: Node) -> None:
        """Protect the path to a node from eviction."""
        current: Node | None = node
        while current is not None:
            if current.holders == 0:
                self.unheld_blocks -= len(current.blocks)
            current.holders += 1
            current = current.parent

    def unhold(self, node: Node, now: float) -> None:
        """Undo one hold. What was not computed, and nobody else waits for, goes."""
        current: Node | None = node
        while current is not None:
            current.holders -= 1
            current.last_use = now
            parent = current.parent
            if current.holders == 0:
                self.unheld_blocks += len(current.blocks)
                if current.ready < self.resident_tokens(current):
                    self._drop_unready(current)
                if is_evictable(current):
                    self.queue.push(current)
            current = parent
        self.queue.compact(self.tree.node_count)

    def split(self, node: Node, offset: int) -> Node:
        """Cut an edge; returns the upper node."""
        upper = self.tree.split(node, offset)
        if node in self.ghosts and self.resident_tokens(upper) < offset:
            self.ghosts[upper] = None
        if not len(node.blocks) and is_evictable(upper):
            self.queue.push(upper)
        return upper

    def make_room(self, count: int, now: float) -> bool:
        """Evict until ``count`` blocks are free; False, with nothing evicted, when that many cannot be had."""
        if self.pool.free_count + self.unheld_blocks < count:
            return False
        while self.pool.free_count < count:
            leaf = self.queue.pop(now)
            if leaf is None:
                return False  # the rest is only kept by pins, until copies that are under way have run
            self._shrink(leaf, count - self.pool.free_count)
        self._trim_ghosts()
        return True

    def add(self, parent: Node, tokens: bytes, blocks: Blocks, now: float) -> Node:
        """Enter a readable edge that nobody holds."""
        node = self.tree.attach(parent, tokens, blocks, 0)
        self.unheld_blocks += len(blocks)
        self.mark_ready(node, node.length)
        self.touch(node, now)
        return node

    def touch(self, node: Node, now: float) -> None:
        """The node has just been used."""
        node.last_use = now
        if is_evictable(node):
            self.queue.push(node)

    def take_out(self, node: Node) -> Blocks:
        """Take a childless node out of the tree; its blocks are the caller's."""
        blocks = node.blocks
        self.tree.detach(node)
        if node.holders == 0:
            self.unheld_blocks -= len(blocks)
        node.holders = 0
        node.blocks = NO_BLOCKS
        return blocks

    def put_back(self, node: Node, blocks: Blocks) -> None:
        """Undo the taking out of an unheld node."""
        assert node.parent is not None
        self.touch(self.add(node.parent, node.tokens, blocks, node.last_use), node.last_use)

    def remove(self, node: Node) -> None:
        """Take an unheld node without children out of the tree, with its blocks and its ghost."""
        self._cut_blocks(node, 0)
        self._remove_ghost(node)

    def revive(self, node: Node, blocks: Blocks) -> None:
        """Give an edge the blocks that it lacks; its parent has all of its own."""
        if not len(node.blocks):
            self.tree.mark_resident(node)
        self.ghosts.pop(node, None)
        self.ghost_tokens -= node.length - self.resident_tokens(node)
        node.blocks = np.concatenate((node.blocks, blocks))
        if node.holders == 0:
            self.unheld_blocks += len(blocks)

    def mark_ready(self, node: Node, ready: int) -> None:
        """The first ``ready`` tokens of the edge are readable from now on."""
        if self.events and ready > node.ready:
            size = self.tree.block_size
            first = node.ready // size
            tokens = node.tokens[first * self.tree.width : ready * TOKEN_BYTES]
            blocks = node.blocks[first : -(-ready // size)]
            self.events(BlockStored(node.root.key, node.start + first * size, tokens, tuple(blocks.tolist())))
        node.ready = ready
        node.planned = max(node.planned, ready)

    def clear(self, root: Root) -> None:
        """Drop every node that nobody holds, and with it every ghost."""
        for node in reversed(list(nodes_below(root))):
            if node.holders == 0:
                self.remove(node)

    def _shrink(self, leaf: Node, want: int) -> None:
        """Take up to ``want`` blocks from the tail of an evictable leaf."""
        keep = max(0, len(leaf.blocks) - want)
        parent = leaf.parent
        assert parent is not None
        self.evicted_tokens += self.resident_tokens(leaf) - keep * self.tree.block_size
        if leaf.length < self.tree.block_size:
            self.remove(leaf)
        else:
            self._cut_blocks(leaf, keep)
            self.ghosts.pop(leaf, None)
            self.ghosts[leaf] = None
        if keep:
            self.queue.push(leaf)
        elif is_evictable(parent):
            self.queue.push(parent)

    def _cut_blocks(self, node: Node, keep: int) -> None:
        """Free the blocks of an unheld node from index ``keep`` on; its tokens stay behind as a ghost."""
        freed = node.blocks[keep:]
        if not len(freed):
            return
        size = self.tree.block_size
        had, lost = self.resident_tokens(node), node.ready - min(node.ready, keep * size)
        node.blocks = node.blocks[:keep] if keep else NO_BLOCKS
        node.ready = node.planned = node.ready - lost
        self.ghost_tokens += had - keep * size
        self.unheld_blocks -= len(freed)
        self.pool.free(freed)
        if not keep:
            self.tree.mark_ghost(node)
        if self.events and lost:
            self.events(BlockRemoved(node.root.key, node.start + keep * size, lost, tuple(freed.tolist())))

    def _remove_ghost(self, node: Node) -> None:
        """Forget the tokens of an edge that have no blocks; without any blocks the node goes. It has no children."""
        size = self.tree.block_size
        keep = len(node.blocks)
        self.ghosts.pop(node, None)
        self.ghost_tokens -= node.length - self.resident_tokens(node)
        if keep:
            node.tokens = node.tokens[: keep * size * TOKEN_BYTES]
        else:
            self.tree.detach(node)

    def _drop_unready(self, node: Node) -> None:
        """An unheld edge has blocks that were never computed: free them, and forget the tokens."""
        keep = node.ready // self.tree.block_size
        self._cut_blocks(node, keep)
        if node.children:
            self.ghosts[node] = None  # ghosts below it still need its tokens
        else:
            self._remove_ghost(node)

    def _trim_ghosts(self) -> None:
        """Forget the oldest ghosts beyond the limit."""
        while self.ghost_tokens > self.ghost_limit:
            oldest = next((node for node in self.ghosts if not (node.children or node.holders)), None)
            if oldest is None:
                return
            self._remove_ghost(oldest)


def nodes_below(root: Node) -> Iterator[Node]:
    """All nodes under a root, parents before children."""
    stack = list(root.children.values())
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children.values())
