"""llm-d-router#2897: no reuse in the workload, sent elsewhere, and an index that is stale are three things, and told so.

What tells them apart is known of each request: why its place was chosen and what was thought to be there, and what the
replica then found, with the reason for which its hit ended.
"""

from foreword.account import MissReason
from foreword.cache import CacheConfig, pack_tokens
from foreword.cache.block_hashes import BlockHasher
from foreword.replay import SPACE, costs_from_rates
from foreword.replay.fleet import SimulatedReplica
from foreword.routing import Placement, ReplicaFacts, RoutedRequest, Router, Why, replica_event
from foreword.sched import Request, SchedulerConfig

BLOCK = 16
PROMPT = range(320)
COSTS = costs_from_rates(1000, 10)
FACTS = ReplicaFacts(SPACE.model, prefill_rate=1000.0, concurrency=8, max_tokens=1000)


class Fleet:
    """Two replicas with real caches of 24 blocks, and their router."""

    def __init__(self) -> None:
        self.router = Router()
        config = CacheConfig(num_blocks=24, block_size=BLOCK)
        self.replicas = {name: SimulatedReplica(config, SchedulerConfig(), COSTS, 1) for name in "ab"}
        self.sent = 0
        for name in self.replicas:
            self.router.join(name, FACTS)

    def place(self, ids: range, avoid: str = "") -> Placement:
        """The place of a request with this prompt."""
        self.sent += 1
        tokens = pack_tokens(ids)
        hashes = BlockHasher(BLOCK).prompt(SPACE.key, tokens)
        return self.router.select(RoutedRequest(str(self.sent), hashes, len(ids), frozenset(avoid)), 0.0)

    def answer(self, placed: Placement, ids: range, heard: bool = True) -> tuple[int, MissReason]:
        """Answer it there: the tokens that it reused, and why its hit ended. Unless ``heard`` the events are lost."""
        name, replica = placed.reservation.request_id, self.replicas[placed.replica]
        request = Request(name, pack_tokens(ids), SPACE, len(ids) + 1, 0.0)
        replica.scheduler.add(request)
        while replica.begin(0.0) is not None:
            replica.end(0.0)
        batch = replica.batch()
        if heard and batch is not None:
            self.router.apply(placed.replica, batch[0], [replica_event(event) for event in batch[1]])
        self.router.started(name, request.account().reused, 0.0)
        self.router.finished(name, 0.0)
        assert request.ledger.hit_end is not None
        return request.account().reused, request.ledger.hit_end.reason


def routed(placed: Placement) -> int:
    """What of the prompt was thought to be there."""
    return placed.cached + placed.loadable + placed.expected


def test_no_reuse_routed_elsewhere_and_a_stale_index_are_told_apart() -> None:
    fleet = Fleet()
    placed = fleet.place(PROMPT)
    found = fleet.answer(placed, PROMPT)
    assert (placed.why, placed.holder, placed.available) == (Why.COLD, None, 0)
    assert found == (0, MissReason.FIRST_SEEN), "nobody had it: no reuse in the workload"

    holder, other = placed.replica, "ab".replace(placed.replica, "")
    queued = [fleet.place(range(5000 + 1000 * at, 5900 + 1000 * at), avoid=other) for at in range(5)]
    placed = fleet.place(PROMPT)
    found = fleet.answer(placed, PROMPT)
    assert (placed.why, placed.replica, placed.holder) == (Why.SPREAD, other, holder)
    assert placed.holder_queue_seconds > 4.0
    assert (placed.available, routed(placed), found) == (319, 0, (0, MissReason.FIRST_SEEN)), "sent elsewhere"
    for each in queued:
        fleet.router.finished(each.reservation.request_id, 0.0)

    pushed_out = range(2000, 2320)
    fleet.answer(fleet.place(pushed_out, avoid=other), pushed_out, heard=False)
    placed = fleet.place(PROMPT, avoid=other)
    found = fleet.answer(placed, PROMPT)
    assert (placed.why, placed.holder, routed(placed)) == (Why.PREFIX, holder, 319)
    assert found[0] < 319 and found[1] is MissReason.EVICTED, "it went where the index had it: the index is stale"
    tally = fleet.router.stats(0.0).tally
    assert (tally.available_tokens, tally.routed_tokens, tally.delivered_tokens) == (638, 319, found[0])
