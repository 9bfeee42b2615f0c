"""Which nodes have blocks: holding, eviction, ghosts. The part of the cache that moves blocks between tree and pool."""

from collections import OrderedDict
from collections.abc import Iterator

from foreword.cache.conversation import private_tail
from foreword.cache.eviction import EvictionQueue, is_evictable
from foreword.cache.marked_paths import MarkedPaths
from foreword.cache.namespace import PrivatePart
from foreword.cache.pool import BlockPool, Blocks
from foreword.cache.tree import NO_BLOCKS, Node, RadixTree, Root
from foreword.events import BlockRemoved, BlockStored, CacheEventSink


class Residency:
    """Keeps the books of the blocks in the tree.

    ``unheld_blocks`` counts the blocks of nodes that nobody holds: all of them can be evicted, leaf by leaf.
    An evicted edge leaves a ghost, its tokens without KV, up to ``ghost_limit`` tokens in all; the oldest go first.
    ``retired`` roots are not found any more, and are still held.
    """

    def __init__(
        self,
        tree: RadixTree,
        pool: BlockPool,
        queue: EvictionQueue,
        marked: MarkedPaths,
        ghost_limit: int,
        events: CacheEventSink | None,
    ):
        self.tree = tree
        self.pool = pool
        self.queue = queue
        self.marked = marked
        self.ghost_limit = ghost_limit
        self.events = events
        self.ghosts: OrderedDict[Node, float] = OrderedDict()  # in order of eviction, with its time
        self.ghost_tokens = 0
        self.unheld_blocks = 0
        self.evicted_tokens = 0
        self.retired: list[Root] = []

    def hold(self, node: Node) -> None:
        """Protect the path to a node from eviction."""
        current: Node | None = node
        while current is not None:
            if current.holders == 0:
                self.unheld_blocks -= len(current.blocks)
            current.holders += 1
            current.uses += 1
            current.ended = False
            current = current.parent

    def unhold(self, node: Node, now: float | None) -> None:
        """Undo one hold. What was not computed, and nobody else waits for, goes. ``now`` None: it was no use of it."""
        if now is not None and self.queue.policy.learns:
            self._note_use(node, now)
        current: Node | None = node
        while current is not None:
            holders = current.holders = current.holders - 1
            if now is not None:
                current.last_use = now
            else:
                current.uses -= 1
            if not holders:
                self.unheld_blocks += len(current.blocks)
                if current.ready < current.backed:
                    self._drop_unready(current)
                if is_evictable(current):
                    self.queue.push(current)
            current = current.parent
        self.queue.compact(self.tree.node_count)

    def let_go(self, node: Node, now: float | None) -> None:
        """Undo one hold for good: of a root that is not found any more goes what nobody holds."""
        root = node.root
        self.unhold(node, now)
        if root.retired:
            self.clear(root)
            if root.holders == 0:
                self.retired.remove(root)

    def split(self, node: Node, at: int) -> Node:
        """Cut an edge; returns the upper node."""
        upper = self.tree.split(node, at)
        if upper.backed < at:
            self.ghosts[upper] = self.ghosts.get(node, node.last_use)
        if node.backed == at and is_evictable(upper):
            self.queue.push(upper)
        if node.marks and node.backed == at:
            self.marked.shortened(node, upper)
        return upper

    def make_room(self, count: int, now: float) -> bool:
        """Evict until ``count`` blocks are free; False when that many cannot be had.

        Nothing is evicted in vain, except that pinned blocks are taken for evictable ones: who needs as many as that
        gets False until the copies that are under way have run.
        """
        pool = self.pool
        if pool.free_count + self.unheld_blocks < count:
            return False
        while pool.free_count < count:
            leaf = self.queue.first(now)
            if leaf is None:
                return False
            self._shrink(leaf, count - pool.free_count, now)
        if self.ghost_tokens > self.ghost_limit:
            self._trim_ghosts()
        return True

    def add(self, parent: Node, tokens: bytes, blocks: Blocks, private: PrivatePart | None, now: float) -> Node:
        """Enter a readable edge that nobody holds."""
        node = self.tree.attach(parent, memoryview(tokens), blocks, private)
        self.unheld_blocks += len(blocks)
        self.mark_ready(node, node.end)
        self.touch(node, now)
        return node

    def say(self, node: Node, goes_on: bool) -> None:
        """For a policy that learns: what the client that uses the path to a node says of its conversation."""
        for each in _path(node):
            each.goes_on = goes_on

    def leave_behind(self, node: Node) -> None:
        """For a policy that learns: a conversation goes on from a node. What only its last turn had behind it, it lacks now.

        That is a line of only children, of which the first was used whenever the node was.
        """
        line, above = [], node
        while len(above.children) == 1:
            above = next(iter(above.children.values()))
            line.append(above)
        if node.parent is None or not line or above.children or line[0].uses != node.uses:
            return
        for each in line:
            if each.noted and not each.holders:
                each.group = self.queue.policy.left_behind(each)
                if is_evictable(each):
                    self.queue.push(each)

    def end_conversation(self, leaf: Node, private: PrivatePart | None, kept: int) -> None:
        """What only the conversation of a path uses, from position ``kept`` on, goes first from now on, marked or not."""
        for node in private_tail(leaf, private, kept):
            for prefix in self.marked.at(node):
                self.marked.end(prefix)
            node.ended = True
            if is_evictable(node):
                self.queue.push(node)

    def touch(self, node: Node, now: float) -> None:
        """The node has just been used, by a request that holds what is above it."""
        node.uses += 1
        node.ended = False
        if self.queue.policy.learns:
            assert node.parent is not None
            fresh = sum(each.end - each.start for each in _path(node) if not each.noted)
            node.goes_on, node.answer = node.parent.goes_on, True
            self._note(node, fresh, now)
        node.last_use = now
        if is_evictable(node):
            self.queue.push(node)

    def take_out(self, node: Node) -> None:
        """Take a childless node out of the tree. Its blocks are the caller's; its own hold, not its path's, is undone."""
        self.tree.detach(node)
        if node.holders == 0:
            self.unheld_blocks -= len(node.blocks)
        if self.events and node.ready > node.start:
            self._tell_removed(node, node.start, node.ready, node.blocks)
        node.holders = 0
        taken, node.blocks, node.backed = len(node.blocks), NO_BLOCKS, node.start
        if node.marks:
            self.marked.lost(node, taken)

    def remove(self, node: Node) -> None:
        """Take an unheld node without children out of the tree, with its blocks and its ghost."""
        self._cut_blocks(node, 0)
        self._remove_ghost(node)

    def revive(self, node: Node, blocks: Blocks) -> None:
        """Give an edge the blocks that it lacks; its parent has all of its own."""
        if node.backed == node.start:
            self.tree.mark_resident(node)
        self.ghosts.pop(node, None)
        self.ghost_tokens -= node.end - node.backed
        node.blocks = node.blocks + blocks
        node.backed = node.end
        if node.holders == 0:
            self.unheld_blocks += len(blocks)
        if node.marks:
            self.marked.blocks += len(blocks)
        self.tree.version += 1

    def mark_ready(self, node: Node, ready: int) -> None:
        """Up to position ``ready`` the edge is readable from now on."""
        if self.events and ready > node.ready:
            self._tell_stored(node, ready)
        node.ready = ready
        if node.planned < ready:
            node.planned = ready
        self.tree.version += 1

    def disbelieve(self, top: Node) -> set[Node]:
        """Nothing of an edge, or of what is below it, is readable any more. Returns the edges that somebody still holds."""
        held = set()
        for node in [*reversed(list(nodes_below(top))), top]:
            if node.holders == 0:
                self.remove(node)
                continue
            held.add(node)
            if self.events and node.ready > node.start:
                self._tell_removed(node, node.start, node.ready, node.blocks)
            node.ready = node.planned = node.start
        self.tree.version += 1
        return held

    def clear(self, root: Root) -> None:
        """Drop every node that nobody holds, and with it every ghost."""
        for node in reversed(list(nodes_below(root))):
            if node.holders == 0:
                self.remove(node)

    def _note_use(self, node: Node, now: float) -> None:
        """Tell the policy of a use of the path to a node."""
        path = _path(node)
        fresh = sum(each.end - each.start for each in path if not each.noted)
        for each in path:
            each.answer = False
            self._note(each, fresh, now)

    def _note(self, node: Node, fresh: int, now: float) -> None:
        """Tell the policy of a use of one node."""
        idle = now - node.last_use if node.noted else None
        node.fresh = fresh
        node.group, node.noted = self.queue.policy.used(node, idle), True

    def _shrink(self, leaf: Node, want: int, now: float) -> None:
        """Take up to ``want`` blocks from the tail of an evictable leaf."""
        keep, parent, backed = len(leaf.blocks) - want, leaf.parent, leaf.backed
        assert parent is not None
        self._cut_blocks(leaf, keep if keep > 0 else 0)
        self.evicted_tokens += backed - leaf.backed
        if leaf.backed < leaf.end:
            if leaf in self.ghosts:
                self.ghosts.move_to_end(leaf)
            self.ghosts[leaf] = now
        elif leaf.start == leaf.end:
            self.tree.detach(leaf)
        if keep <= 0 and is_evictable(parent):
            self.queue.push(parent)

    def _cut_blocks(self, node: Node, keep: int) -> None:
        """Free the blocks of an unheld node from index ``keep`` on; their tokens stay behind as a ghost.

        Less than a block is not worth remembering: with its block an open end goes for good, and of a stub nothing stays.
        """
        freed = node.blocks[keep:] if keep else node.blocks
        if not freed:
            return
        size = self.tree.block_size
        end = node.start + keep * size
        if self.events and node.ready > end:
            self._tell_removed(node, end, node.ready, freed)
        self.ghost_tokens += node.backed - end
        rest = node.end % size
        if rest:
            node.cut_edge(node.end - rest)
            self.ghost_tokens -= rest
        self.unheld_blocks -= len(freed)
        self.pool.free(freed)
        node.blocks = node.blocks[:keep] if keep else NO_BLOCKS
        node.backed = end
        if end < node.ready:
            node.ready = end
        node.planned = node.ready
        if keep:
            self.tree.version += 1
        else:
            self.tree.mark_ghost(node)
        if node.marks:
            self.marked.lost(node, len(freed))

    def _tell_stored(self, node: Node, ready: int) -> None:
        """Tokens from where the edge was readable up to ``ready`` come in, with the block that was partly readable."""
        root, size = node.root, self.tree.block_size
        if self.events is None or root.retired:
            return
        first = (node.ready - node.start) // size
        tokens = node.tokens(node.start + first * size, ready)
        blocks = node.blocks[first : -(-(ready - node.start) // size)]
        before = node.blocks[first - 1 : first] if first or node.parent is None else node.parent.blocks[-1:]
        parent = before[0] if before else None
        self.events(BlockStored(root.key, node.start + first * size, tokens, tuple(blocks), *_owner(node), parent))

    def _tell_removed(self, node: Node, start: int, end: int, blocks: Blocks) -> None:
        """Tokens [start, end) were readable, in the first of these blocks, and are not in the tree any more."""
        root = node.root
        if self.events is None or root.retired:
            return
        blocks = blocks[: -(-(end - start) // self.tree.block_size)]
        self.events(BlockRemoved(root.key, start, end - start, tuple(blocks), *_owner(node)))

    def _remove_ghost(self, node: Node) -> None:
        """Forget the tokens of an edge that have no blocks; without any blocks the node goes. It has no children."""
        self.ghosts.pop(node, None)
        self.ghost_tokens -= node.end - node.backed
        if node.backed > node.start:
            node.cut_edge(node.backed)
            self.tree.version += 1
            if node.marks:
                self.marked.shortened(node, node)
        else:
            self.tree.detach(node)

    def _drop_unready(self, node: Node) -> None:
        """An unheld edge has blocks that were never computed: free them, and forget the tokens."""
        self._cut_blocks(node, (node.ready - node.start) // self.tree.block_size)
        if node.children:
            self.ghosts[node] = node.last_use  # ghosts below it still need its tokens
        else:
            self._remove_ghost(node)

    def _trim_ghosts(self) -> None:
        """Forget the oldest ghosts beyond the limit. Those with children wait for them: they were evicted earlier."""
        while self.ghost_tokens > self.ghost_limit:
            for oldest in self.ghosts:
                if not (oldest.children or oldest.holders):
                    break
            else:
                return
            self._remove_ghost(oldest)


def _path(node: Node) -> list[Node]:
    """A node and those above it, without the root."""
    path = []
    while node.parent is not None:
        path.append(node)
        node = node.parent
    return path


def _owner(node: Node) -> tuple[str | None, int]:
    """Whose a node's tokens are, and from which position; None and 0 where they are everyone's."""
    door = node.door
    return (None, 0) if door is None else (door.owner, door.start)


def nodes_below(top: Node) -> Iterator[Node]:
    """All nodes under another, parents before children."""
    stack = list(top.children.values())
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children.values())
