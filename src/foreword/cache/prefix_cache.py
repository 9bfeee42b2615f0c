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

from collections.abc import Sequence

from foreword.account import HitEnd, MissReason, Source
from foreword.cache.actions import Actions, Stored
from foreword.cache.config import CacheConfig
from foreword.cache.continuations import Continuations
from foreword.cache.conversation import GOES_ON_SECONDS
from foreword.cache.copying import Copying
from foreword.cache.eviction import POLICIES, EvictionPolicy, EvictionQueue
from foreword.cache.first_use import FirstUse
from foreword.cache.insertion import Insertion
from foreword.cache.inspection import CacheParts
from foreword.cache.integrity import check_parts
from foreword.cache.ledger import RequestLedger
from foreword.cache.lookup import Lookup, Query, explain, locate, without_copy
from foreword.cache.marked_paths import MarkedPaths
from foreword.cache.marks import Mark, Marks
from foreword.cache.namespace import Namespace, PrivatePart
from foreword.cache.namespaces import Namespaces
from foreword.cache.pool import BlockPool, Blocks
from foreword.cache.reservation import Hold, Holds, Reservation
from foreword.cache.residency import Residency
from foreword.cache.results import Chunk, Match, Usage
from foreword.cache.transfers import Transfers
from foreword.cache.tree import Node, RadixTree, Root, lacking_nodes, path_blocks
from foreword.errors import PromptError
from foreword.events import AllBlocksCleared, BlockReused, CacheEventSink, ConversationState
from foreword.tokens import TOKEN_BYTES


class PrefixCache:
    """Which tokens have KV in which blocks, and who uses them. Not thread-safe: one engine, one thread.

    actions
        What is to be carried out before the next step computes.
    transfers
        What is on its way between the cache's blocks and a lower tier.
    continuations
        What followed the tokens of running requests before.
    parts
        The insides, for whoever checks them.
    """

    def __init__(
        self, config: CacheConfig, policy: EvictionPolicy | None = None, events: CacheEventSink | None = None
    ) -> None:
        self.config = config
        self.actions = Actions()
        self._size = size = config.block_size
        self._events = events
        self._tree = RadixTree(size)
        self._pool = BlockPool(config.num_blocks)
        queue = EvictionQueue(policy or POLICIES[config.eviction_policy]())
        marked = MarkedPaths(queue)
        ghost_limit = int(config.ghost_ratio * config.num_blocks * size)
        self._residency = Residency(self._tree, self._pool, queue, marked, ghost_limit, events)
        self._marks = Marks(self._tree, self._residency, marked, int(config.mark_budget * config.num_blocks))
        self._copying = Copying(self._pool, self.actions, size)
        self._insertion = Insertion(self._tree, self._pool, self._residency)
        self._namespaces = Namespaces(self._tree)
        self._holds = Holds()
        first_use = FirstUse(int(config.first_use_share * config.num_blocks * size)) if config.stores else None
        self.transfers = Transfers(self._tree, self._residency, self.actions, self._holds, first_use)
        self.continuations = Continuations(self._tree, self._holds)
        self.parts = CacheParts(
            tree=self._tree,
            pool=self._pool,
            residency=self._residency,
            marked=marked,
            marks=self._marks,
            namespaces=self._namespaces,
            holds=self._holds,
            transfers=self.transfers,
        )

    def match(
        self,
        namespace: Namespace,
        tokens: bytes,
        private: PrivatePart | None = None,
        *,
        use_cache: bool = True,
        stored: tuple[Stored, ...] = (),
    ) -> Match:
        """Look a prompt (packed tokens) up: how much of it a reservation made now would find. Changes nothing.

        From ``private`` on the prompt is its owner's alone. Without ``use_cache`` nothing is found, and what is reserved
        neither reads nor feeds the cache. ``stored`` is what lower tiers have of it. PromptError for an empty prompt.
        """
        if len(tokens) < TOKEN_BYTES:
            raise PromptError("The prompt is empty; it needs at least one token.")
        query = Query(namespace, tokens, private, use_cache and self.config.enable_prefix_caching, stored)
        root = self._tree.roots.get(namespace.key)
        if not query.use_cache or (root is None and not stored):
            return Match(0, 0, 0, query)
        lookup = locate(self._tree, Root(namespace.key) if root is None else root, query)
        brought = self.transfers.brought(lookup, query)
        evicted = lookup.seen - lookup.reach
        in_flight = lookup.reach - lookup.cached
        return Match(
            cached=lookup.cached,
            in_flight=in_flight,
            evicted=evicted if evicted > 0 else 0,
            query=query,
            lookup=None if root is None else lookup,
            version=self._tree.version,
            stored=brought - lookup.reach if brought else 0,
        )

    def reserve(self, match: Match, ledger: RequestLedger, now: float, marks: Sequence[Mark] = ()) -> Reservation | None:
        """Hold the cached prefix of a prompt and blocks for the rest of it; None, and no change, without room.

        The prompt is looked up again only if the cache has changed since it was matched.
        The rest is entered into the tree at once, in flight, so that who comes next with the same tokens shares it.
        At least the last token is always left to compute. The ledger is told what was cached, and why no more.
        A prompt of more blocks than the cache has gets None for ever: it is for the caller to refuse it.
        The prefixes that ``marks`` name are kept from eviction from the release on, as far as they were computed.
        """
        query, lookup = match.query, match.lookup
        hold = Hold(query, ledger, marks)
        if not query.use_cache:
            return self._reserve_alone(hold, now)
        if lookup is None or match.version != self._tree.version:
            lookup = locate(self._tree, self._namespaces.root(query.namespace), query)
        brought = self.transfers.brought(lookup, query)
        hit_end = ledger.hit_end or explain(lookup, query, self._residency.ghosts, brought)
        if brought:
            lookup = without_copy(lookup)
        if not self._take(hold, lookup, now):
            return None
        ledger.hit_end = hit_end
        if lookup.cached:
            ledger.enter(Source.CACHED, 0, lookup.cached)
            self.transfers.used_again(hold, lookup.cached, now)
        self.transfers.missed(lookup, brought)
        if brought:
            self.transfers.load(hold, lookup, query.loadable, brought)
        if self._events and lookup.cached >= self._size:
            self._events(BlockReused(hold.blocks[: lookup.cached // self._size].tobytes()))
        reservation = Reservation(hold)
        self._holds[reservation] = hold
        return reservation

    def grow(self, reservation: Reservation, until: int, now: float) -> bool:
        """Make sure that tokens [0, until) have blocks; False, and no change, without room."""
        hold = self._holds[reservation]
        lacking = -(-until // self._size) - len(hold.blocks)
        if lacking <= 0:
            return True
        blocks = self._allocate(lacking, now)
        if blocks is None:
            return False
        hold.blocks = hold.blocks + blocks
        return True

    def plan(self, reservation: Reservation, until: int, budget: int) -> Chunk | None:
        """What this request computes in the step being built: at most ``budget`` tokens, up to position ``until``.

        Tokens that another request of the same step computes are skipped: they can be read layer by layer. None: nothing
        to do now, because another request is still computing what this one waits for, or because all is computed.
        What is planned has to be committed or abandoned before the next step is planned, and can be planned anew before;
        what has to be carried out before it is among the ``actions``.
        """
        hold = self._holds[reservation]
        start = self._copying.frontier(hold)
        if start is None or start >= until or budget <= 0:
            return None
        end = start + budget
        if end > until:
            end = until
        if hold.copy is not None:
            end = self._copying.plan(hold, start, end)
        hold.span = (start, end)
        if hold.first is None:
            hold.first = start
        node = hold.node
        while node is not None:
            if node.start < end:
                planned = end if end < node.end else node.end
                if node.planned >= planned:
                    break
                node.planned = planned
            node = node.parent
        return Chunk(start, end)

    def commit(self, reservation: Reservation, until: int | None = None) -> None:
        """The step ran: what was planned is readable, and counted.

        Tokens from position ``until`` on, behind the prompt, were drafts that turned out to be others: their KV is not
        believed, and blocks in which there is nothing else are given back. None: all is believed.
        """
        hold = self._holds[reservation]
        if hold.span is None:
            return
        start, end = hold.span
        hold.span = None
        if until is not None and until < end:
            end = until
            keep = -(-end // self._size)
            self._pool.free(hold.blocks[keep:])
            hold.blocks = hold.blocks[:keep]
        if hold.copy is not None and start >= hold.copy_at:
            self._copying.forget(hold)
        fresh: list[Node] = []
        node = hold.node
        while node is not None:
            if node.start < end:
                if node.ready >= end or node.ready == node.end:
                    break
                fresh.append(node)
            node = node.parent
        for node in reversed(fresh):  # parents first, also for who hears the events
            self._residency.mark_ready(node, end if end < node.end else node.end)
        if start > hold.computed:
            self._enter_shared(hold, start)
        hold.ledger.enter(Source.COMPUTED, start, end)
        hold.computed = end

    def abandon(self, reservation: Reservation) -> None:
        """The step failed: nothing of what was planned is believed. The reservation can be planned again or released."""
        hold = self._holds[reservation]
        self._copying.abandon(hold)
        hold.span = None
        node = hold.node
        while node is not None and node.ready < node.end:
            node.planned = node.ready
            node = node.parent

    def release(
        self,
        reservation: Reservation,
        now: float,
        generated: bytes = b"",
        keep: bool = True,
        conversation: ConversationState | None = None,
    ) -> None:
        """Let go. What has been computed stays cached, ``generated`` (packed tokens after the prompt) included.

        ``conversation``: whether it goes on, as far as that was told (conversation.py); to be said at a request's end only.
        Without ``keep`` nothing stays of what this request computed, nor of what others computed from it: their reservations
        are ``spoiled`` from then on.

        Tokens at or beyond ``reservation.computed`` have no KV and are not kept; a prompt that is given up within one of
        its whole blocks does not keep the begun block. Between plan and commit nothing may be
        released unless the step is not going to run: other requests of the step read what this one was to compute.
        """
        hold = self._holds[reservation]
        if hold.span is not None:
            self.abandon(reservation)
        del self._holds[reservation]
        if hold.copy is not None:
            self._copying.forget(hold)
        if keep:
            self.transfers.marked(hold, now)
        else:
            self._spoil(hold)
        learns, goes_on = self._residency.queue.policy.learns, conversation is ConversationState.GOES_ON
        if learns and hold.node is not None:
            self._residency.say(hold.node, goes_on)
        base = self._insertion.leave(hold, generated, now)
        if base is None:
            return
        root = base.root
        marks = hold.marks
        if goes_on and not learns:
            marks = (*marks, Mark(hold.length, GOES_ON_SECONDS))
        if (marks or self.parts.marked) and not root.retired:
            computed = hold.tokens[: hold.computed * TOKEN_BYTES]
            self._marks.use(root, computed, hold.private, marks, now)
        if keep and not root.retired:
            self.transfers.used_first(root, hold.tail(0, generated), hold.private, now)
        self._residency.let_go(base, now)
        if conversation is ConversationState.ENDED and keep and not root.retired:
            leaf, _ = self._tree.walk(root, hold.tail(0, generated), hold.private)
            self._residency.end_conversation(leaf, hold.private, max((mark.position for mark in hold.marks), default=0))

    def reset(self) -> None:
        """Forget everything. Running requests go on, but nothing computed so far is reused by a later one."""
        self._marks.clear()
        for root in self._tree.roots.values():
            self._residency.clear(root)
            if root.holders:
                root.retired = True
                self._residency.retired.append(root)
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
            marked_blocks=self._residency.marked.blocks,
        )

    def check_integrity(self) -> None:
        """Raise IntegrityError, naming the invariant, if the books do not add up. Takes time; for tests and idle hours."""
        check_parts(self.parts)

    def _spoil(self, hold: Hold) -> None:
        """Believe nothing of what a request computed: nobody finds it any more, and who reads it knows."""
        if hold.node is None or hold.first is None:
            return
        first = hold.first // self._size * self._size
        hold.computed = min(hold.computed, first)
        top, node = None, hold.node
        while node.parent is not None and node.end > first:
            top, node = node, node.parent
        if top is None:
            return
        if top.start < first:
            self._residency.split(top, first)
        wrong = self._residency.disbelieve(top)
        blocks = {block for node in wrong for block in node.blocks}
        for other in self._holds.values():
            if other.node in wrong or (other.copy is not None and other.copy.source in blocks):
                other.spoiled = True
                other.computed = min(other.computed, first)

    def _enter_shared(self, hold: Hold, until: int) -> None:
        """Tokens before ``until`` have become readable without this request: say who brought them."""
        for start, end, source in hold.brought:
            if start < until and hold.computed < end:
                if start > hold.ledger.high:
                    hold.ledger.enter(Source.SHARED_IN_FLIGHT, hold.ledger.high, start)
                hold.ledger.enter(source, max(start, hold.computed), min(end, until))
        hold.ledger.enter(Source.SHARED_IN_FLIGHT, hold.computed, until)

    def _allocate(self, count: int, now: float) -> Blocks | None:
        """Blocks, after eviction if need be; None without room."""
        free = self._pool.free_count
        if free < count <= free + self._residency.unheld_blocks:
            self._marks.settle(now)
        return self._pool.allocate(count) if self._residency.make_room(count, now) else None

    def _take(self, hold: Hold, lookup: Lookup, now: float) -> bool:
        """Hold the shared path, make room, and enter the rest of the prompt in flight. False: no room, no change."""
        residency, size, aligned = self._residency, self._size, lookup.aligned
        node, source = lookup.node, lookup.source if lookup.partial else None
        if node.end > aligned:
            node = residency.split(node, aligned)
        if residency.queue.policy.learns and not lookup.whole:
            residency.leave_behind(node)
        adopted = source if source is not None and self._can_adopt(source, lookup) else None
        held = adopted or node
        residency.hold(held)
        copied = source.blocks[0] if source is not None and adopted is None else None
        if copied is not None:
            self._pool.pin(copied)
        ghosts = lacking_nodes(node) if node.backed < node.end else ()
        wanted = -(-hold.length // size) - aligned // size - (adopted is not None)
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
        hold.blocks = path_blocks(node) + blocks if node.parent is not None else blocks
        hold.node, hold.shared_end = node, node.end
        hold.computed = lookup.cached if adopted is not None else min(lookup.cached, lookup.backed)
        if not lookup.whole:
            self._insertion.enter(hold, node, blocks)
        if source is not None and copied is not None:
            self._copying.wait(hold, lookup, source, copied)
        return True

    def _can_adopt(self, source: Node, lookup: Lookup) -> bool:
        """Whether the prompt may go on writing in the block of a stub instead of copying it: nobody else uses it."""
        return (
            not lookup.whole
            and lookup.backed == lookup.aligned
            and source.holders == 0
            and source.end - source.start < self._size
            and source.ready == source.end == lookup.reach
        )

    def _reserve_alone(self, hold: Hold, now: float) -> Reservation | None:
        """Blocks for a request that neither reads nor feeds the cache."""
        blocks = self._allocate(-(-hold.length // self._size), now)
        if blocks is None:
            return None
        hold.blocks = blocks
        if hold.ledger.hit_end is None:
            hold.ledger.hit_end = HitEnd(MissReason.DISABLED, 0)
        reservation = Reservation(hold)
        self._holds[reservation] = hold
        return reservation
