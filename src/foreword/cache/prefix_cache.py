"""The prefix cache: match → reserve → plan → commit → release.

It keeps ids, counts and trees. KV memory, threads, clocks and files are somebody else's: methods take ``now`` in seconds
of the caller's clock, and actions (copy this block) are returned to be carried out.

A step of the engine reads so:

    reservation = cache.reserve(namespace, tokens, ledger, now)     once per request; None while there is no room
    chunk = cache.plan(reservation, until, budget)                  what to compute in this step, and a copy to run first
    ... the model runs ...
    cache.commit(reservation)                                       or cache.abandon(reservation) if the step failed
    cache.release(reservation, now, generated)                      at the end, at preemption, at abort
"""

from dataclasses import dataclass

import numpy as np

from foreword.cache.eviction import POLICIES, EvictionPolicy
from foreword.cache.integrity import check_cache
from foreword.cache.ledger import HitEnd, MissReason, RequestLedger, Source
from foreword.cache.namespace import Namespace
from foreword.cache.pool import BlockPool, Blocks
from foreword.cache.reservation import Chunk, CopyBlock, Match, Reservation, Usage
from foreword.cache.residency import Residency
from foreword.cache.tokens import TOKEN_BYTES, common_tokens
from foreword.cache.tree import NO_BLOCKS, Node, RadixTree, Root, Walk, first_unplanned, ready_end
from foreword.config import require
from foreword.errors import PromptError
from foreword.events import AllBlocksCleared, EventSink

NEAREST_TOKENS = 16
COMPARED_NAMESPACES = 8
SWEEP_NAMESPACES = 64


@dataclass(frozen=True)
class CacheConfig:
    """Options of a PrefixCache."""

    num_blocks: int = 1024
    """Blocks of KV memory to manage."""
    block_size: int = 16
    """Tokens a block."""
    enable_prefix_caching: bool = True
    """Off: every request computes its whole prompt, with the same bookkeeping."""
    eviction_policy: str = "lru"
    """``lru``, or ``protected-lru`` for working sets larger than the cache."""
    ghost_ratio: float = 4.0
    """Evicted tokens to remember, as a multiple of the tokens that fit."""

    def __post_init__(self) -> None:
        require(self.num_blocks > 0, f"num_blocks is {self.num_blocks}; a cache needs at least 1 block.")
        require(self.block_size > 0, f"block_size is {self.block_size}; it must be at least 1 token.")
        require(0 <= self.ghost_ratio < 1e6, f"ghost_ratio is {self.ghost_ratio}; it must be between 0 and 1e6.")
        known = ", ".join(POLICIES)
        require(
            self.eviction_policy in POLICIES,
            f"eviction_policy is {self.eviction_policy!r}; known policies: {known}.",
        )


@dataclass(slots=True)
class _Place:
    """Where a prompt meets the tree.

    Its first ``aligned`` tokens, whole blocks, end on the edge of ``node``; then ``source`` shares ``common`` more tokens
    (less than a block), of which ``partial`` can be reused by copying. ``whole``: all of the prompt is in the tree.
    """

    walk: Walk
    node: Node
    aligned: int
    source: Node | None
    common: int
    partial: int
    whole: bool


class PrefixCache:
    """Which tokens have KV in which blocks, and who uses them. Not thread-safe: one engine, one thread."""

    def __init__(
        self, config: CacheConfig, policy: EvictionPolicy | None = None, events: EventSink | None = None
    ) -> None:
        self.config = config
        self._size = config.block_size
        self._tree = RadixTree(config.block_size)
        self._pool = BlockPool(config.num_blocks)
        ghost_limit = int(config.ghost_ratio * config.num_blocks * config.block_size)
        self._events = events
        self._residency = Residency(
            self._tree, self._pool, policy or POLICIES[config.eviction_policy](), ghost_limit, events
        )
        self._namespaces: dict[bytes, Namespace] = {}
        self._sweep_at = SWEEP_NAMESPACES
        self._retired: list[Root] = []
        self._live: set[Reservation] = set()

    def match(self, namespace: Namespace, tokens: bytes) -> Match:
        """How much of a prompt (packed tokens) a reservation made now would find. Changes nothing."""
        root = self._tree.roots.get(namespace.key)
        if root is None or not self.config.enable_prefix_caching:
            return Match(0, 0, 0)
        return self._measure(self._locate(root, tokens))

    def reserve(
        self, namespace: Namespace, tokens: bytes, ledger: RequestLedger, now: float, use_cache: bool = True
    ) -> Reservation | None:
        """Hold the cached prefix of a prompt and blocks for the rest of it; None, and no change, without room.

        The rest is entered into the tree at once, in flight, so that who comes next with the same tokens shares it.
        At least the last token is always left to compute. The ledger is told what was cached, and why no more.
        """
        length = len(tokens) // TOKEN_BYTES
        reservation = Reservation(tokens, length, ledger)
        if not (use_cache and self.config.enable_prefix_caching):
            return self._reserve_alone(reservation, now)
        root = self._root(namespace)
        place = self._locate(root, tokens)
        match = self._measure(place)
        if not self._take(reservation, place, match, now):
            return None
        if ledger.hit_end is None:
            ledger.hit_end = self._explain(namespace, tokens, place, match)
        ledger.account(Source.CACHED, 0, match.cached)
        self._live.add(reservation)
        return reservation

    def grow(self, reservation: Reservation, until: int, now: float) -> bool:
        """Make sure that tokens [0, until) have blocks; False, and no change, without room."""
        lacking = -(-until // self._size) - len(reservation.table)
        if lacking <= 0:
            return True
        if not self._residency.make_room(lacking, now):
            return False
        reservation.table = np.concatenate((reservation.table, self._pool.allocate(lacking)))
        return True

    def plan(self, reservation: Reservation, until: int, budget: int) -> Chunk | None:
        """What this request computes in the step being built: at most ``budget`` tokens, up to position ``until``.

        Tokens that another request of the same step computes are skipped: they can be read layer by layer. None: nothing
        to do now, because another request is still computing what this one waits for, or because all is computed.
        """
        start = self._frontier(reservation)
        if start is None or start >= until or budget <= 0:
            return None
        end, copy = min(until, start + budget), reservation.copy
        if copy is not None and start < reservation.copy_at:
            end, copy = min(end, reservation.copy_at), None
        reservation.span = (start, end)
        node = reservation.node
        while node is not None:
            planned = min(end - node.start, node.length)
            if planned > 0:
                if node.planned >= planned:
                    break
                node.planned = planned
            node = node.parent
        return Chunk(start, end, copy)

    def commit(self, reservation: Reservation) -> None:
        """The step ran: what was planned is readable, and counted."""
        if reservation.span is None:
            return
        start, end = reservation.span
        reservation.span = None
        if reservation.copy is not None and start >= reservation.copy_at:
            self._forget_copy(reservation)
        node = reservation.node
        while node is not None:
            ready = min(end - node.start, node.length)
            if ready > 0:
                if node.ready >= ready:
                    break
                self._residency.mark_ready(node, ready)
            node = node.parent
        reservation.ledger.account(Source.SHARED, reservation.computed, start)
        reservation.ledger.account(Source.COMPUTED, start, end)
        reservation.computed = end

    def abandon(self, reservation: Reservation) -> None:
        """The step failed: nothing of what was planned is believed. The reservation can be planned again or released."""
        reservation.span = None
        node = reservation.node
        while node is not None and node.parent is not None and node.ready < node.length:
            node.planned = node.ready
            node = node.parent

    def release(self, reservation: Reservation, now: float, generated: bytes = b"") -> None:
        """Let go. What has been computed stays cached, ``generated`` (packed tokens after the prompt) included.

        Tokens at or beyond ``reservation.computed`` have no KV and are not kept.
        """
        if reservation.span is not None:
            self.abandon(reservation)
        self._live.discard(reservation)
        if reservation.copy is not None:
            self._forget_copy(reservation)
        base = reservation.node
        if base is None:
            self._pool.free(reservation.table)
            return
        if reservation.stub:
            base = self._take_back_stub(base)
        root = base.root
        tail = reservation.table[base.end // self._size :]
        if reservation.computed > base.end and not root.retired:
            self._insert(base, _tail_tokens(reservation, base.end, generated), tail, now)
        else:
            self._pool.free(tail)
        self._residency.unhold(base, now)
        if root.retired:
            self._residency.clear(root)
            if root.holders == 0:
                self._retired.remove(root)

    def reset(self) -> None:
        """Forget everything. Running requests go on, but nothing computed so far is reused by a later one."""
        for root in self._tree.roots.values():
            self._residency.clear(root)
            if root.holders:
                root.retired = True
                self._retired.append(root)
        self._tree.roots.clear()
        self._namespaces.clear()
        if self._events:
            self._events(AllBlocksCleared())

    def usage(self) -> Usage:
        """Blocks by state, and running totals."""
        free, evictable = self._pool.free_count, self._residency.unheld_blocks
        return Usage(
            total_blocks=self.config.num_blocks,
            free_blocks=free,
            evictable_blocks=evictable,
            held_blocks=self.config.num_blocks - free - evictable,
            ghost_tokens=self._residency.ghost_tokens,
            evicted_tokens=self._residency.evicted_tokens,
        )

    def check_integrity(self) -> None:
        """Raise IntegrityError, naming the invariant, if the books do not add up. Takes time; for tests and idle hours."""
        roots = [*self._tree.roots.values(), *self._retired]
        check_cache(roots, self._pool, self._residency, self._live, self._size)

    def _root(self, namespace: Namespace) -> Root:
        """The root of a namespace; entering a new one now and then sweeps out those that have become empty."""
        if namespace.key not in self._namespaces:
            if len(self._namespaces) >= self._sweep_at:
                for key in [key for key, root in self._tree.roots.items() if not (root.children or root.holders)]:
                    del self._tree.roots[key], self._namespaces[key]
                self._sweep_at = 2 * len(self._namespaces) + SWEEP_NAMESPACES
            self._namespaces[namespace.key] = namespace
        return self._tree.root(namespace.key)

    def _locate(self, root: Root, tokens: bytes) -> _Place:
        """Where a prompt meets the tree; changes nothing."""
        size, last = self._size, len(tokens) // TOKEN_BYTES - 1
        if last < 0:
            raise PromptError("The prompt is empty; it needs at least one token.")
        walk = self._tree.walk(root, tokens)
        aligned = min(walk.end, last) // size * size
        node = walk.edge or walk.node
        while node.start >= aligned and node.parent is not None:
            node = node.parent
        source, common = None, 0
        if self._residency.resident_end(node) >= aligned:
            rest = tokens[aligned * TOKEN_BYTES : (aligned + size) * TOKEN_BYTES]
            offset = aligned - node.start
            if node.end == aligned:
                source, common = self._tree.nearest(node, rest)
            elif len(node.blocks) * size > offset:
                source = node
                common = common_tokens(rest, node.tokens[offset * TOKEN_BYTES : (offset + size) * TOKEN_BYTES])
        whole = max(walk.end, aligned + common) > last
        return _Place(walk, node, aligned, source, common, min(common, last - aligned), whole)

    def _measure(self, place: _Place) -> Match:
        """What of a place is readable, in flight, and gone."""
        aligned = place.aligned
        ready, reach = ready_end(place.node), self._residency.resident_end(place.node)
        if reach >= aligned:
            reach = aligned + place.partial
        cached = min(ready, aligned)
        if cached == aligned and place.source is not None and ready_end(place.source) >= reach:
            cached = reach
        seen = min(place.walk.end, aligned + self._size - 1)
        return Match(cached, reach - cached, max(0, seen - reach))

    def _take(self, reservation: Reservation, place: _Place, match: Match, now: float) -> bool:
        """Hold the shared path, make room, and enter the rest of the prompt in flight. False: no room, no change."""
        residency, size, aligned = self._residency, self._size, place.aligned
        node = place.node
        if node.end > aligned:
            node = residency.split(node, aligned - node.start)
        residency.hold(node)
        source = place.source if place.partial else None
        adopted, origin = NO_BLOCKS, 0
        if source is not None:
            origin = int(source.blocks[0])
            if self._can_adopt(source, place):
                adopted = residency.take_out(source)
            else:
                self._pool.pin(origin)
        readable = source is None or ready_end(source) >= aligned + place.partial
        ghosts = self._lacking(node)
        lacking = sum(-(-ghost.length // size) - len(ghost.blocks) for ghost in ghosts)
        own = -(-reservation.length // size) - aligned // size - len(adopted)
        if not residency.make_room(lacking + own, now):
            if len(adopted):
                assert source is not None
                residency.put_back(source, adopted)
            elif source is not None:
                self._pool.unpin(origin)
            residency.unhold(node, node.last_use)
            return False
        blocks = self._pool.allocate(lacking + own)
        for ghost in ghosts:
            count = -(-ghost.length // size) - len(ghost.blocks)
            residency.revive(ghost, blocks[:count])
            blocks = blocks[count:]
        if len(adopted):
            blocks = np.concatenate((adopted, blocks))
        reservation.table = np.concatenate((*_path_blocks(node), blocks))
        reservation.node, reservation.shared_end, reservation.computed = node, node.end, min(match.cached, aligned)
        if not place.whole:
            self._enter(reservation, node, blocks, place.partial if len(adopted) else 0)
        if len(adopted):
            reservation.computed = match.cached
        elif source is not None:
            self._await_copy(reservation, place, origin, None if readable else source)
        return True

    def _can_adopt(self, source: Node, place: _Place) -> bool:
        """Whether the prompt may go on writing in the block of a stub instead of copying it: nobody else uses it."""
        return (
            not place.whole
            and source.holders == 0
            and source.length < self._size
            and source.ready == source.length == place.partial
        )

    def _lacking(self, node: Node) -> list[Node]:
        """The nodes of a path, topmost first, that lack blocks."""
        lacking: list[Node] = []
        current: Node | None = node
        while current is not None and len(current.blocks) * self._size < current.length:
            lacking.append(current)
            current = current.parent
        lacking.reverse()
        return lacking

    def _enter(self, reservation: Reservation, node: Node, blocks: Blocks, ready: int) -> None:
        """Enter the rest of a prompt below ``node``: an edge of whole blocks, and a stub for what remains."""
        width, tokens = self._tree.width, reservation.tokens
        at = node.end * TOKEN_BYTES
        full = (len(tokens) - at) // width
        if full:
            node = self._tree.attach(node, tokens[at : at + full * width], blocks[:full], ready)
            node.holders, ready = 1, 0
        if len(tokens) > at + full * width:
            node = self._tree.attach(node, tokens[at + full * width :], blocks[full : full + 1], ready)
            node.holders = 1
            reservation.stub = True
        reservation.node, reservation.shared_end = node, node.end

    def _await_copy(self, reservation: Reservation, place: _Place, origin: int, source: Node | None) -> None:
        """The first tokens of the request's own first block are to be copied as soon as their source is readable."""
        target = int(reservation.table[place.aligned // self._size])
        reservation.copy = CopyBlock(origin, target, place.partial)
        reservation.copy_at, reservation.copy_source = place.aligned, source
        if not place.whole:
            assert reservation.node is not None
            first = reservation.node
            while first.start > place.aligned:
                assert first.parent is not None
                first = first.parent
            first.copier = reservation

    def _forget_copy(self, reservation: Reservation) -> None:
        """The copy has run, or is not needed any more."""
        assert reservation.copy is not None
        self._pool.unpin(reservation.copy.source)
        reservation.copy = reservation.copy_source = None
        node = reservation.node
        while node is not None and node.start >= reservation.copy_at:
            if node.copier is reservation:
                node.copier = None
            node = node.parent

    def _frontier(self, reservation: Reservation) -> int | None:
        """The first token that this request has to compute itself, or None while it waits for another one to do so."""
        if reservation.copy is None and reservation.computed >= reservation.shared_end:
            return reservation.computed
        assert reservation.node is not None
        reached, node = first_unplanned(reservation.node)
        if reservation.copy is not None and reached > reservation.copy_at:
            self._forget_copy(reservation)  # somebody who shares the edge has computed it meanwhile
        copy = reservation.copy
        if copy is None or reached < reservation.copy_at:
            if node.copier is not None and node.start == reached and node.copier is not reservation:
                return None
            return max(reservation.computed, reached)
        source = reservation.copy_source
        if source is not None:
            readable = ready_end(source) - reservation.copy_at
            if readable < copy.tokens and source.holders > 0:
                return None
            if readable <= 0:
                self._forget_copy(reservation)
                return reached
            if readable < copy.tokens:  # who computed the source was aborted half-way
                copy = reservation.copy = CopyBlock(copy.source, copy.target, readable)
            reservation.copy_source = None
        return reached + copy.tokens

    def _take_back_stub(self, stub: Node) -> Node:
        """Take a request's own stub out of the tree, so that the request can enter it again with all it wrote there."""
        parent = stub.parent
        assert parent is not None
        self._residency.take_out(stub)
        return parent

    def _insert(self, node: Node, tokens: bytes, blocks: Blocks, now: float) -> None:
        """Enter computed tokens below a held node; blocks with a content that is there already are freed."""
        width, size = self._tree.width, self._size
        while len(tokens) >= width:
            child = node.children.get(tokens[:width])
            if child is None:
                full = len(tokens) // width
                child = self._residency.add(node, tokens[: full * width], blocks[:full], now)
            else:
                full = common_tokens(tokens, child.tokens) // size
                if child.ready < min(full * size, self._residency.resident_tokens(child)):
                    break  # another request is just computing the same and will enter it
                if full * size < child.length:
                    child = self._residency.split(child, full * size)
                have = len(child.blocks)
                self._pool.free(blocks[:have])
                if have < full:
                    self._residency.revive(child, blocks[have:full])
                    self._residency.mark_ready(child, child.length)
                self._residency.touch(child, now)
            node, tokens, blocks = child, tokens[full * width :], blocks[full:]
        if 0 < len(tokens) < width:
            self._insert_stub(node, tokens, blocks[:1], now)
            blocks = blocks[1:]
        self._pool.free(blocks)

    def _insert_stub(self, node: Node, tokens: bytes, block: Blocks, now: float) -> None:
        """Enter less than a block; a shorter stub that it continues goes, and it goes itself if another continues it."""
        nearest, common = self._tree.nearest(node, tokens)
        if nearest is not None and common * TOKEN_BYTES == len(tokens):
            self._pool.free(block)
            return
        if nearest is not None and common == nearest.length and nearest.holders == 0:
            self._residency.remove(nearest)
        self._residency.add(node, tokens, block, now)

    def _explain(self, namespace: Namespace, tokens: bytes, place: _Place, match: Match) -> HitEnd:
        """Why the hit of a new request ended where it did."""
        end = match.cached + match.in_flight
        if end == len(tokens) // TOKEN_BYTES - 1:
            return HitEnd(MissReason.COMPLETE, end)
        if match.evicted:
            return HitEnd(MissReason.EVICTED, end, lost_tokens=match.evicted)
        other, longer = self._longest_elsewhere(namespace, tokens)
        if other is not None and longer > end:
            differs = namespace.differs_in(other)
            return HitEnd(MissReason.NAMESPACE_DIFFERS, end, lost_tokens=longer - end, differs_in=differs)
        if end and place.source is not None:
            offset = end - place.source.start
            nearest = place.source.tokens[offset * TOKEN_BYTES : (offset + NEAREST_TOKENS) * TOKEN_BYTES]
            if nearest:
                return HitEnd(MissReason.DIVERGED, end, nearest)
        return HitEnd(MissReason.FIRST_SEEN, end)

    def _longest_elsewhere(self, namespace: Namespace, tokens: bytes) -> tuple[Namespace | None, int]:
        """The other namespace, of those entered last, that holds the longest prefix of the prompt."""
        best, longest = None, 0
        for key in list(reversed(self._namespaces))[: COMPARED_NAMESPACES + 1]:
            if key != namespace.key:
                found = self._measure(self._locate(self._tree.roots[key], tokens))
                if found.cached > longest:
                    best, longest = self._namespaces[key], found.cached
        return best, longest

    def _reserve_alone(self, reservation: Reservation, now: float) -> Reservation | None:
        """Blocks for a request that neither reads nor feeds the cache."""
        count = -(-reservation.length // self._size)
        if not self._residency.make_room(count, now):
            return None
        reservation.table = self._pool.allocate(count)
        if reservation.ledger.hit_end is None:
            reservation.ledger.hit_end = HitEnd(MissReason.DISABLED, 0)
        self._live.add(reservation)
        return reservation


def _path_blocks(node: Node) -> list[Blocks]:
    """The blocks of a path, topmost node first."""
    parts: list[Blocks] = []
    current: Node | None = node
    while current is not None:
        parts.append(current.blocks)
        current = current.parent
    parts.reverse()
    return parts


def _tail_tokens(reservation: Reservation, start: int, generated: bytes) -> bytes:
    """Packed tokens [start, computed) of a request: the end of its prompt and what it generated."""
    length = reservation.length
    if start >= length:
        return generated[(start - length) * TOKEN_BYTES : (reservation.computed - length) * TOKEN_BYTES]
    if reservation.computed <= length:
        return reservation.tokens[start * TOKEN_BYTES : reservation.computed * TOKEN_BYTES]
    return reservation.tokens[start * TOKEN_BYTES :] + generated[: (reservation.computed - length) * TOKEN_BYTES]
