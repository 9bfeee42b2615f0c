"""The prefix cache: match → reserve → plan → commit → release.

It keeps ids, counts and trees. KV memory, threads, clocks and files are somebody else's: methods take ``now`` in seconds
of the caller's clock, and ``actions`` are handed over to be carried out.

A step of the engine reads so:

    match = cache.match(namespace, tokens)                          how much is there already
    reservation = cache.reserve(match, ledger, now)                 once per request; None while there is no room
    chunk = cache.plan(reservation, until, budget)                  what to compute in this step
    actions = cache.actions.take()                                  what to carry out before (copy this block)
    ... the model runs ...
    cache.commit(reservation)                                       or cache.abandon(reservation) if the step failed
    cache.release(reservation, now, generated)                      at the end, at preemption, at abort
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from foreword.account import HitEnd, MissReason, Source
from foreword.cache.actions import Actions, CopyBlock
from foreword.cache.config import CacheConfig
from foreword.cache.eviction import POLICIES, EvictionPolicy
from foreword.cache.integrity import check_cache
from foreword.cache.ledger import RequestLedger
from foreword.cache.lookup import Lookup, explain, locate
from foreword.cache.marks import Mark
from foreword.cache.namespace import Namespace
from foreword.cache.pool import BlockPool, Blocks
from foreword.cache.reservation import Reservation
from foreword.cache.residency import Residency
from foreword.cache.results import Chunk, Match, Query, Usage
from foreword.cache.tree import Node, RadixTree, Root, first_unplanned, lacking_nodes, path_blocks
from foreword.errors import IntegrityError, PromptError
from foreword.events import AllBlocksCleared, BlockReused, EventSink
from foreword.tokens import TOKEN_BYTES, common_with_edge

COMPARED_NAMESPACES = 8  # how many other namespaces an explanation looks into
SWEEP_NAMESPACES = 64  # how many new ones may come before the empty ones are swept out


class PrefixCache:
    """Which tokens have KV in which blocks, and who uses them. Not thread-safe: one engine, one thread."""

    def __init__(self, config: CacheConfig, policy: EvictionPolicy | None = None, events: EventSink | None = None) -> None:
        self.config = config
        self.actions = Actions()
        self._size = config.block_size
        self._tree = RadixTree(config.block_size)
        self._pool = BlockPool(config.num_blocks)
        ghost_limit = int(config.ghost_ratio * config.num_blocks * config.block_size)
        self._events = events
        mark_limit = int(config.mark_budget * config.num_blocks)
        order = policy or POLICIES[config.eviction_policy]()
        self._residency = Residency(self._tree, self._pool, order, ghost_limit, mark_limit, events)
        self._namespaces: dict[bytes, Namespace] = {}
        self._sweep_at = SWEEP_NAMESPACES
        self._retired: list[Root] = []
        self._live: set[Reservation] = set()
        self._version = 0  # another one after every change that a look-up could see

    def match(self, namespace: Namespace, tokens: bytes, use_cache: bool = True) -> Match:
        """Look a prompt (packed tokens) up: how much of it a reservation made now would find. Changes nothing.

        Without ``use_cache`` nothing is found, and what is reserved neither reads nor feeds the cache. PromptError for an
        empty prompt.
        """
        if len(tokens) < TOKEN_BYTES:
            raise PromptError("The prompt is empty; it needs at least one token.")
        query = Query(namespace, tokens, use_cache and self.config.enable_prefix_caching)
        root = self._tree.roots.get(namespace.key)
        if root is None or not query.use_cache:
            return Match(0, 0, 0, query)
        place = locate(self._tree, root, tokens)
        evicted = place.seen - place.reach
        return Match(place.cached, place.reach - place.cached, evicted if evicted > 0 else 0, query, place, self._version)

    def reserve(self, match: Match, ledger: RequestLedger, now: float, marks: Sequence[Mark] = ()) -> Reservation | None:
        """Hold the cached prefix of a prompt and blocks for the rest of it; None, and no change, without room.

        The prompt is looked up again only if the cache has changed since it was matched.
        The rest is entered into the tree at once, in flight, so that who comes next with the same tokens shares it.
        At least the last token is always left to compute. The ledger is told what was cached, and why no more.
        A prompt of more blocks than the cache has gets None for ever: it is for the caller to refuse it.
        The prefixes that ``marks`` name are kept from eviction from the release on, as far as they were computed.
        """
        namespace, tokens = match.query.namespace, match.query.tokens
        reservation = Reservation(tokens, len(tokens) // TOKEN_BYTES, ledger, marks)
        if not match.query.use_cache:
            return self._reserve_alone(reservation, now)
        root = self._root(namespace)
        place = match.lookup
        if place is None or match.version != self._version:
            place = locate(self._tree, root, tokens)
        hit_end = ledger.hit_end
        if hit_end is None:
            hit_end = explain(self._tree, place, tokens, namespace, self._others(namespace))
            if hit_end.reason is MissReason.EVICTED:
                hit_end = replace(hit_end, evicted_at=self._evicted_at(root, tokens))
        if not self._take(reservation, place, now):
            return None
        ledger.hit_end = hit_end
        if place.cached:
            ledger.enter(Source.CACHED, 0, place.cached)
        if self._events and place.cached >= self._size:
            self._events(BlockReused(reservation.blocks[: place.cached // self._size].tobytes()))
        self._live.add(reservation)
        return reservation

    def grow(self, reservation: Reservation, until: int, now: float) -> bool:
        """Make sure that tokens [0, until) have blocks; False, and no change, without room."""
        lacking = -(-until // self._size) - len(reservation.blocks)
        if lacking <= 0:
            return True
        blocks = self._allocate(lacking, now)
        if blocks is None:
            return False
        reservation.blocks = reservation.blocks + blocks
        return True

    def plan(self, reservation: Reservation, until: int, budget: int) -> Chunk | None:
        """What this request computes in the step being built: at most ``budget`` tokens, up to position ``until``.

        Tokens that another request of the same step computes are skipped: they can be read layer by layer. None: nothing
        to do now, because another request is still computing what this one waits for, or because all is computed.
        What is planned has to be committed or abandoned before the next step is planned.
        """
        start = self._frontier(reservation)
        if start is None or start >= until or budget <= 0:
            return None
        end, copy = start + budget, reservation.copy
        if end > until:
            end = until
        if copy is not None:
            if start < reservation.copy_at:
                end = min(end, reservation.copy_at)
            else:
                self.actions.add(copy)
        reservation.span = (start, end)
        node = reservation.node
        while node is not None:
            if node.start < end:
                planned = end if end < node.end else node.end
                if node.planned >= planned:
                    break
                node.planned = planned
            node = node.parent
        return Chunk(start, end)

    def commit(self, reservation: Reservation) -> None:
        """The step ran: what was planned is readable, and counted."""
        if reservation.span is None:
            return
        start, end = reservation.span
        reservation.span = None
        self._version += 1
        if reservation.copy is not None and start >= reservation.copy_at:
            self._forget_copy(reservation)
        fresh: list[Node] = []
        node = reservation.node
        while node is not None:
            if node.start < end:
                if node.ready >= end or node.ready == node.end:
                    break
                fresh.append(node)
            node = node.parent
        for node in reversed(fresh):  # parents first, also for who hears the events
            self._residency.mark_ready(node, end if end < node.end else node.end)
        if start > reservation.computed:
            reservation.ledger.enter(Source.SHARED_IN_FLIGHT, reservation.computed, start)
        reservation.ledger.enter(Source.COMPUTED, start, end)
        reservation.computed = end

    def abandon(self, reservation: Reservation) -> None:
        """The step failed: nothing of what was planned is believed. The reservation can be planned again or released."""
        if reservation.span is not None and reservation.copy is not None:
            self.actions.withdraw(reservation.copy)
        reservation.span = None
        node = reservation.node
        while node is not None and node.ready < node.end:
            node.planned = node.ready
            node = node.parent

    def release(self, reservation: Reservation, now: float, generated: bytes = b"") -> None:
        """Let go. What has been computed stays cached, ``generated`` (packed tokens after the prompt) included.

        Tokens at or beyond ``reservation.computed`` have no KV and are not kept; a prompt that is given up within one of
        its whole blocks does not keep the begun block. Between plan and commit nothing may be
        released unless the step is not going to run: other requests of the step read what this one was to compute.
        """
        if reservation not in self._live:
            raise IntegrityError("A reservation was released that is not held: released twice, or another cache's.")
        self._live.remove(reservation)
        self._version += 1
        if reservation.span is not None:
            self.abandon(reservation)
        if reservation.copy is not None:
            self._forget_copy(reservation)
        base = reservation.node
        if base is None:
            self._pool.free(reservation.blocks)
            return
        if reservation.open_end and not self._is_final(base, reservation.computed):
            base = self._take_back_open_end(base)
        root = base.root
        tail = reservation.blocks[-(-base.end // self._size) :]
        if reservation.computed > base.end and not root.retired:
            self._insert(base, reservation.tail(base.end, generated), tail, now)
        elif tail:
            self._pool.free(tail)
        if (reservation.marks or self._residency.marks) and not root.retired:
            computed = reservation.tokens[: reservation.computed * TOKEN_BYTES]
            self._residency.marks.use(root, computed, reservation.marks, now, self._residency.split)
        self._residency.unhold(base, now)
        if root.retired:
            self._residency.clear(root)
            if root.holders == 0:
                self._retired.remove(root)

    def reset(self) -> None:
        """Forget everything. Running requests go on, but nothing computed so far is reused by a later one."""
        self._residency.marks.clear()
        for root in self._tree.roots.values():
            self._residency.clear(root)
            if root.holders:
                root.retired = True
                self._retired.append(root)
        self._tree.roots.clear()
        self._namespaces.clear()
        self._version += 1
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
            marked_blocks=self._residency.marks.blocks,
        )

    def check_integrity(self) -> None:
        """Raise IntegrityError, naming the invariant, if the books do not add up. Takes time; for tests and idle hours."""
        roots = [*self._tree.roots.values(), *self._retired]
        check_cache(roots, self._pool, self._residency, self._live, self._size)

    def _root(self, namespace: Namespace) -> Root:
        """The root of a namespace; entering a new one now and then sweeps out those that have become empty."""
        if namespace.key not in self._namespaces:
            if len(self._namespaces) >= self._sweep_at:
                for key in [key for key, root in self._tree.roots.items() if root.unused]:
                    del self._tree.roots[key], self._namespaces[key]
                self._sweep_at = 2 * len(self._namespaces) + SWEEP_NAMESPACES
            self._namespaces[namespace.key] = namespace
        return self._tree.root(namespace.key)

    def _evicted_at(self, root: Root, tokens: bytes) -> float | None:
        """When the first tokens of a prompt that have no blocks any more lost them."""
        node, _ = self._tree.walk(root, tokens)
        while node.parent is not None and node.parent.backed < node.parent.end:
            node = node.parent
        return self._residency.ghosts.get(node)

    def _others(self, namespace: Namespace) -> Iterator[Namespace]:
        """The namespaces, of those entered last, that an explanation looks into."""
        if len(self._namespaces) == 1:
            return iter(())
        newest = islice(reversed(self._namespaces.values()), COMPARED_NAMESPACES + 1)
        return (other for other in newest if other.key != namespace.key)

    def _allocate(self, count: int, now: float) -> Blocks | None:
        """Blocks, after eviction if need be; None without room."""
        self._version += 1
        return self._pool.allocate(count) if self._residency.make_room(count, now) else None

    def _take(self, reservation: Reservation, place: Lookup, now: float) -> bool:
        """Hold the shared path, make room, and enter the rest of the prompt in flight. False: no room, no change."""
        residency, size, aligned = self._residency, self._size, place.aligned
        node, source = place.node, place.source if place.partial else None
        if node.end > aligned:
            node = residency.split(node, aligned)
        adopted = source if source is not None and self._can_adopt(source, place) else None
        held = adopted or node
        residency.hold(held)
        copied = source.blocks[0] if source is not None and adopted is None else None
        if copied is not None:
            self._pool.pin(copied)
        ghosts = lacking_nodes(node) if node.backed < node.end else ()
        wanted = -(-reservation.length // size) - aligned // size - (adopted is not None)
        for ghost in ghosts:
            wanted += (ghost.end - ghost.backed) // size
        blocks = self._allocate(wanted, now)
        if blocks is None:
            if copied is not None:
                self._pool.unpin(copied)
            residency.unhold(held, None)
            return False
        for ghost in ghosts:
            count = (ghost.end - ghost.backed) // size
            residency.revive(ghost, blocks[:count])
            blocks = blocks[count:]
        if adopted is not None:
            blocks = adopted.blocks + blocks
            residency.take_out(adopted)
        reservation.blocks = path_blocks(node) + blocks if node.parent is not None else blocks
        reservation.node, reservation.shared_end = node, node.end
        reservation.computed = place.cached if adopted is not None else min(place.cached, place.backed)
        if not place.whole:
            self._enter(reservation, node, blocks)
        if source is not None and copied is not None:
            self._await_copy(reservation, place, source, copied)
        return True

    def _can_adopt(self, source: Node, place: Lookup) -> bool:
        """Whether the prompt may go on writing in the block of a stub instead of copying it: nobody else uses it."""
        return (
            not place.whole
            and place.backed == place.aligned
            and source.holders == 0
            and source.end - source.start < self._size
            and source.ready == source.end == place.reach
        )

    def _enter(self, reservation: Reservation, node: Node, blocks: Blocks) -> None:
        """Enter the rest of a prompt below ``node``, in flight; what an adopted block holds already is readable."""
        leaf = self._tree.attach(node, memoryview(reservation.tokens)[node.end * TOKEN_BYTES :], blocks)
        leaf.holders = 1
        if reservation.computed > leaf.start:
            self._residency.mark_ready(leaf, reservation.computed)
        reservation.node, reservation.shared_end = leaf, leaf.end
        reservation.open_end = leaf.end % self._size > 0

    def _await_copy(self, reservation: Reservation, place: Lookup, source: Node, block: int) -> None:
        """The first tokens of the block behind the backed ones are to be copied as soon as their source is readable."""
        target = reservation.blocks[place.backed // self._size]
        reservation.copy = CopyBlock(block, target, place.partial)
        reservation.copy_at = place.backed
        reservation.copy_source = None if place.cached == place.reach else source
        if not place.whole or place.backed < place.aligned:
            assert reservation.node is not None
            first = reservation.node
            while first.start > place.backed:
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
        if reservation.copy_source is not None:
            readable, coming = self._source_state(reservation.copy_source, copy.source, reservation.copy_at)
            if readable < copy.tokens:
                if coming:
                    return None
                if readable <= 0:
                    self._forget_copy(reservation)
                    return reached
                copy = reservation.copy = CopyBlock(copy.source, copy.target, readable)
            reservation.copy_source = None
        return reached + copy.tokens

    def _source_state(self, source: Node, block: int, at: int) -> tuple[int, bool]:
        """How many tokens of a copy's source block, that of position ``at``, are readable; whether more are coming."""
        while source.start > at:  # the edge has been cut since
            assert source.parent is not None
            source = source.parent
        index = (at - source.start) // self._size
        if index < len(source.blocks) and source.blocks[index] != block:
            return 0, False  # given up half-way, then begun anew by another request, in another block
        return source.ready - at, source.holders > 0

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

    def _insert(self, node: Node, tokens: bytes, blocks: Blocks, now: float) -> None:
        """Enter computed tokens below a held node; blocks with a content that is there already are freed."""
        width, size = self._tree.width, self._size
        while len(tokens) >= width:
            child = node.children.get(tokens[:width])
            if child is None:
                break
            full = common_with_edge(tokens, 0, child.edge) // size
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
        used = -(-len(tokens) // width)
        if len(tokens) >= width:
            self._residency.add(node, tokens, blocks[:used], now)
        elif tokens:
            self._insert_stub(node, tokens, blocks[:used], now)
        if len(blocks) > used:
            self._pool.free(blocks[used:])

    def _insert_stub(self, node: Node, tokens: bytes, block: Blocks, now: float) -> None:
        """Enter less than a block; a shorter stub that it continues goes, and it goes itself if another continues it."""
        nearest, common = self._tree.nearest(node, tokens)
        if nearest is not None and common * TOKEN_BYTES == len(tokens):
            self._pool.free(block)
            return
        if nearest is not None and common == nearest.end - nearest.start and nearest.holders == 0:
            self._residency.remove(nearest)
        self._residency.add(node, tokens, block, now)

    def _reserve_alone(self, reservation: Reservation, now: float) -> Reservation | None:
        """Blocks for a request that neither reads nor feeds the cache."""
        blocks = self._allocate(-(-reservation.length // self._size), now)
        if blocks is None:
            return None
        reservation.blocks = blocks
        if reservation.ledger.hit_end is None:
            reservation.ledger.hit_end = HitEnd(MissReason.DISABLED, 0)
        self._live.add(reservation)
        return reservation
