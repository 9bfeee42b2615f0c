"""Transfers: blocks that are on their way from a lower tier, or to one.

A prompt of which a lower tier has more than the cache is entered in flight as any other. What the tier has is not
computed but *loaded*: whoever wants it waits (``Copying.frontier``); when it does not come, or not all of it, the rest is
computed as if nothing had been stored. Blocks are *stored* at the second use of their tokens, when they are marked, and at
the first use as far as that pays (``first_use.py``); what goes on being used is given to the tier again from time to time:
there, too, it counts as used then, and is kept as marked.
A transfer holds its path, so that its blocks stay what they are until it has ended, whoever else lets go.
"""

from foreword.account import HitEnd, MissReason
from foreword.cache.actions import Actions, LoadBlocks, StoreBlocks, Stored, Transfer
from foreword.cache.first_use import FirstUse
from foreword.cache.lookup import Lookup, Query
from foreword.cache.namespace import Namespace, PrivatePart
from foreword.cache.reservation import Hold, Holds
from foreword.cache.residency import Residency, nodes_below
from foreword.cache.tree import Node, RadixTree, Root, path_blocks, ready_end
from foreword.tokens import TOKEN_BYTES

GIVEN_AGAIN = 60.0
"""Seconds after which what is used is given again to a tier that has it; one that has dropped it writes it anew."""


class Transfers:
    """What is being loaded and stored. ``first_use``: what is stored at once; None: there is no tier to store on."""

    def __init__(self, tree: RadixTree, residency: Residency, actions: Actions, holds: Holds, first_use: FirstUse | None):
        self._tree = tree
        self._residency = residency
        self._actions = actions
        self._holds = holds
        self._size = tree.block_size
        self._first_use = first_use
        self.held: dict[Transfer, Node] = {}
        """The node that each transfer holds: its blocks are on the path down to there."""

    def brought(self, lookup: Lookup, query: Query) -> int:
        """How many leading tokens a reservation made now would have when its load arrives; 0: there is nothing to load.

        Nothing is loaded behind what others are still computing, and the last token is always computed.
        """
        if not query.stored:
            return 0
        end = self._end(query)
        return end if lookup.cached >= lookup.backed and end > lookup.reach else 0

    def load(self, hold: Hold, lookup: Lookup, stored: tuple[Stored, ...], until: int) -> None:
        """A prompt has just been entered: have what is stored of it, up to position ``until``, brought."""
        assert hold.node is not None
        node, start = hold.node, lookup.backed
        while node.start >= until:
            assert node.parent is not None
            node = node.parent
        if node.end > until:
            node = self._residency.split(node, until)
        load = LoadBlocks(
            _namespace(node),
            hold.private,
            hold.tokens[: until * TOKEN_BYTES],
            start,
            hold.blocks[start // self._size : until // self._size],
            stored,
        )
        self._begin(load, node)
        for each in _path(node, start):
            each.load, each.stored = load, each.end

    def arrived(self, load: LoadBlocks, until: int, now: float, reason: MissReason = MissReason.LOAD_FAILED) -> None:
        """A load has ended: the KV of its tokens before position ``until`` is in its blocks. ``reason``: why not of all.

        Nothing is believed of what follows tokens that meanwhile are not.
        """
        node = self.held.pop(load)
        until = max(load.start, until - until % self._size)
        if self._first_use:
            self._first_use.came_back(until - load.start)
        path = [each for each in _path(node, load.start) if each.load is load]
        for each in path:
            each.load = None
        top = path[-1].parent if path else None
        if top is not None and ready_end(path[-1]) < load.start:
            until = load.start
        for each in reversed(path):
            if each.ready < (end := min(until, each.end)):
                self._residency.mark_ready(each, end)
            each.stored = min(each.stored, max(until, each.start))
        for hold in self._holds.values():
            if hold.node is not None and hold.computed < load.until and _is_on_path(node, hold.node):
                start = load.start
                for stored in load.stored:
                    if start < (end := min(stored.until, until)):
                        hold.brought.append((start, end, stored.source))
                        start = end
                if until < load.until:
                    hold.ledger.hit_end = HitEnd(reason, until)
        self._residency.let_go(node, now)

    def used_again(self, hold: Hold, cached: int, now: float) -> None:
        """A request has just found readable tokens: what a tier does not have of them it is given."""
        if self._first_use and hold.node is not None:
            self._store(hold.private, hold.tokens, hold.node, cached, now)

    def marked(self, hold: Hold, now: float) -> None:
        """A request that marks prefixes is about to let go: what it marks is given to the tier."""
        if self._first_use and hold.node is not None and hold.marks:
            last, ttl = max(mark.position for mark in hold.marks), max(mark.ttl_seconds for mark in hold.marks)
            self._store(hold.private, hold.tokens, hold.node, min(last, hold.computed, hold.shared_end), now, ttl)

    def missed(self, lookup: Lookup, brought: int) -> None:
        """A prompt has been entered of which so much will be brought: what is evicted of the rest was asked for in vain."""
        if self._first_use:
            self._first_use.came_back(max(lookup.seen - max(lookup.reach, brought), 0))

    def used_first(self, root: Root, tokens: bytes, private: PrivatePart | None, now: float) -> None:
        """A request has let go of tokens that are computed: the tier is given what it lacks of them, if that pays."""
        if self._first_use is None:
            return
        node, end = self._tree.walk(root, tokens, private)
        end = min(end, node.ready if node.ready > node.start else ready_end(node)) // self._size * self._size
        lacking = sum(max(min(each.end, end) - each.stored, 0) for each in _path(node, 0))
        if lacking and self._first_use.pays(lacking):
            self._store(private, tokens, node, end, now)

    def put_away(self, store: StoreBlocks, until: int) -> None:
        """A store has ended: the tier has its tokens before position ``until``. The others are given again when used."""
        node = self.held.pop(store)
        for each in _path(node, store.start):
            each.stored = min(each.stored, max(until, each.start))
        self._residency.let_go(node, None)

    def store_all(self, now: float) -> None:
        """Give the tier all that it lacks and that is readable, at the end of a service; what was used last comes first."""
        if self._first_use is None:
            return
        roots = self._tree.roots.values()
        leaves = [node for root in roots for node in nodes_below(root) if node.ready > node.start and not node.resident]
        for leaf in sorted(leaves, key=lambda node: -node.last_use):
            self._store(leaf.door, _tokens(leaf), leaf, leaf.ready, now)

    def _end(self, query: Query) -> int:
        """How far lower tiers have a prompt, the block of its last token left out."""
        last = (len(query.tokens) // TOKEN_BYTES - 1) // self._size * self._size
        return min(query.loadable[-1].until, last) if query.loadable else 0

    def _store(
        self, private: PrivatePart | None, tokens: bytes, node: Node, until: int, now: float, ttl: float = 0.0
    ) -> None:
        """Have the readable tokens [0, until) on the path to a node stored: what lacks, or all if that was long ago."""
        until -= until % self._size
        path = [each for each in _path(node, 0) if each.start < until]
        if not path or node.root.retired:
            return
        given = path
        if now - path[-1].given < GIVEN_AGAIN:
            lacking = [number for number, each in enumerate(path) if each.stored < min(each.end, until)]
            given = path[: lacking[-1] + 1] if lacking else []
        if not given:
            return
        if given[0].end > until:
            given[0] = self._residency.split(given[0], until)
        start = given[-1].start if given is path else given[-1].stored // self._size * self._size
        blocks = path_blocks(given[0])[start // self._size : until // self._size]
        store = StoreBlocks(_namespace(node), private, tokens[: until * TOKEN_BYTES], start, blocks, ttl)
        self._begin(store, given[0])
        for each in given:
            each.stored, each.given = min(each.end, until), now

    def _begin(self, transfer: LoadBlocks | StoreBlocks, node: Node) -> None:
        self._residency.hold(node)
        self.held[transfer] = node
        self._actions.add(transfer)


def _namespace(node: Node) -> Namespace:
    namespace = node.root.namespace
    assert namespace is not None
    return namespace


def _path(node: Node, start: int) -> list[Node]:
    """A node and those above it, up to the one on which position ``start`` is."""
    path = []
    while node.parent is not None and node.end > start:
        path.append(node)
        node = node.parent
    return path


def _tokens(node: Node) -> bytes:
    """Packed tokens of the path down to a node."""
    return b"".join(each.edge.tobytes() for each in reversed(_path(node, 0)))


def _is_on_path(node: Node, leaf: Node) -> bool:
    """Whether a node is another one or above it."""
    while leaf is not node and leaf.parent is not None and leaf.start >= node.start:
        leaf = leaf.parent
    return leaf is node
