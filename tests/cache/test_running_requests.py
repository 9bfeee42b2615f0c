"""Small exact cases of requests that run: what they share in flight, steps that fail, aborts, and no room left."""

import pytest

from cache.harness import machine, match, reason, run_ids
from foreword.cache import HitEnd, MissReason, RequestLedger, pack_tokens
from foreword.errors import IntegrityError
from foreword.testing.hash_kv import SPACE

# ---- in flight


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 11, 16])
@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("budget", [3, 1000])
def test_identical_prompts_in_flight_compute_once(length: int, copies: int, budget: int) -> None:
    m = machine()
    requests = [m.must_start(run_ids(0, length)) for _ in range(copies)]
    total = 0
    while any(request.reservation.computed < length for request in requests):
        done = m.step(budget)
        assert done
        total += done
    assert total == length + copies - 1
    m.drain()
    assert sum(request.ledger.account().computed for request in requests) == total


@pytest.mark.parametrize("length", [8, 12, 13])
def test_identical_prompts_of_an_evicted_prefix_compute_once(length: int) -> None:
    m = machine(blocks=16)
    m.run(run_ids(0, length))
    m.run(run_ids(100, 64))
    assert match(m, run_ids(0, length))[0] == 0
    requests = [m.must_start(run_ids(0, length)) for _ in range(3)]
    assert reason(requests[0]).reason is MissReason.EVICTED
    assert m.complete() == length + 2
    m.drain()


def test_prompts_with_a_common_prefix_in_flight_share_it() -> None:
    m = machine()
    first = m.must_start([*run_ids(0, 10), 50, 51])
    second = m.must_start([*run_ids(0, 10), 60, 61])
    assert match(m, [*run_ids(0, 10), 70]) == (0, 10, 0)
    assert m.complete() == 12 + 2
    record = second.ledger.account()
    assert (record.cached, record.shared_in_flight, record.computed) == (0, 10, 2)
    assert first.ledger.account().computed == 12
    m.drain()


def test_what_is_in_flight_is_not_read_before_its_step() -> None:
    m = machine()
    first = m.must_start(run_ids(0, 8))
    second = m.must_start([*run_ids(0, 6), 9])
    assert m.cache.plan(second.reservation, 7, 100) is not None  # planned alone it must compute from the start
    m.cache.abandon(second.reservation)
    chunk = m.cache.plan(first.reservation, 8, 5)
    assert chunk is not None
    m.cache.commit(first.reservation)
    assert match(m, run_ids(0, 9)) == (5, 3, 0)


def test_if_who_computes_goes_the_next_one_computes() -> None:
    m = machine()
    first = m.must_start(run_ids(0, 10))
    m.must_start(run_ids(0, 10))
    assert m.step(3) == 3
    m.finish(first)
    assert m.complete() == 7
    m.drain()


def test_a_copy_source_begun_anew_by_another_request_is_not_copied_from_its_old_block() -> None:
    """A waits to copy from B's block; B gives up; C computes the same tokens in another block."""
    m = machine(blocks=12)
    m.run(run_ids(0, 13))  # three whole blocks and a stub
    m.run(run_ids(100, 48))  # evicts them: two nodes' worth of ghosts
    m.run([*run_ids(0, 8), 90, 91, 92, 93, 94])  # cuts the ghost edge, so that it has children
    m.run(run_ids(200, 48))
    assert match(m, run_ids(0, 13))[0] == 0
    b = m.must_start(run_ids(0, 8))
    a = m.must_start([0, 1, 70])
    copy = m.hold(a).copy
    assert copy is not None
    old = copy.source
    m.finish(b)
    c = m.must_start(run_ids(0, 8))
    assert old not in c.reservation.table.tolist()
    m.running.remove(a)
    m.complete()
    m.running.append(a)
    m.drain()  # reads back a's KV


# ---- failures and aborts


def test_of_a_failed_step_nothing_stays() -> None:
    m = machine()
    request = m.must_start(run_ids(0, 10))
    assert m.step(fail=True) == 10
    m.check()
    assert match(m, run_ids(0, 10)) == (0, 9, 0)
    m.finish(request)
    m.check()
    assert m.cache.usage().free_blocks == 64
    assert match(m, run_ids(0, 10)) == (0, 0, 0)


def test_a_failed_step_can_be_run_again() -> None:
    m = machine()
    m.run(run_ids(0, 6))
    request = m.must_start([*run_ids(0, 5), 9, 9, 9, 9])
    m.step(fail=True)
    m.complete()
    m.drain()
    assert (request.ledger.account().cached, request.ledger.account().computed) == (5, 4)


@pytest.mark.parametrize(("computed", "kept"), [(0, 0), (1, 0), (4, 4), (6, 4), (9, 9), (10, 10), (11, 11)])
def test_an_abort_keeps_what_was_computed_and_loses_no_block(computed: int, kept: int) -> None:
    m = machine()
    request = m.must_start(run_ids(0, 11))
    if computed:
        m.step(computed)
    m.finish(request)
    m.check()
    assert match(m, run_ids(0, 20)) == (kept, 0, 0)
    usage, blocks = m.cache.usage(), -(-kept // 4)
    assert (usage.free_blocks, usage.evictable_blocks, usage.held_blocks) == (64 - blocks, blocks, 0)


def test_without_room_nothing_changes_and_the_look_up_counts_once() -> None:
    m = machine(blocks=8)
    holder = m.must_start(run_ids(0, 24))
    m.complete()
    ledger = RequestLedger(20)
    tokens = pack_tokens([*run_ids(0, 6), *run_ids(50, 14)])
    before = m.cache.usage()
    for _ in range(5):
        assert m.cache.reserve(m.cache.match(SPACE, tokens), ledger, 5) is None
        m.check()
        assert m.cache.usage() == before
    assert (ledger.account().cached, ledger.hit_end) == (0, None)
    m.finish(holder)
    reservation = m.cache.reserve(m.cache.match(SPACE, tokens), ledger, 6)
    assert reservation is not None
    assert ledger.account().cached == 6
    assert ledger.hit_end == HitEnd(MissReason.DIVERGED, 6, pack_tokens(run_ids(6, 16)))
    m.cache.release(reservation, 7)
    m.check()


def test_a_refused_look_up_does_not_change_the_order_of_eviction() -> None:
    m = machine(blocks=8)
    m.run([*run_ids(0, 4), *run_ids(10, 4)])
    m.run([*run_ids(0, 4), *run_ids(20, 4)])  # the shared block was used last here
    shared = next(node for node in m.nodes() if node.start == 0)
    used = shared.last_use
    holder = m.must_start(run_ids(50, 17))
    assert m.start([*run_ids(0, 4), *run_ids(10, 4), *run_ids(70, 30)]) is None
    assert shared.last_use == used
    m.finish(holder)
    m.check()


def test_a_prompt_of_all_blocks_can_evict_what_it_would_have_copied_from() -> None:
    m = machine(blocks=4)
    m.run([1, 2, 3, 4, 5])
    ids = [1, 2, 9, 9, *run_ids(20, 12)]
    assert m.start(ids) is None or m.running  # the block to copy from is in the way once at most
    if not m.running:
        m.must_start(ids)
    m.drain()


def test_without_room_to_grow_nothing_changes() -> None:
    m = machine(blocks=3)
    request = m.must_start(run_ids(0, 12))
    m.complete()
    assert not m.generate(request, 5)
    assert request.reservation.table.tolist() == [0, 1, 2]
    m.finish(request)
    m.check()
    assert m.cache.usage().evictable_blocks == 3


def test_a_reservation_is_released_once() -> None:
    m = machine()
    request = m.must_start([1, 2, 3])
    m.finish(request)
    with pytest.raises(IntegrityError, match="released twice"):
        m.cache.release(request.reservation, 9)
    m.check()


def test_what_a_request_computed_wrongly_is_not_kept_and_nothing_that_was_computed_from_it() -> None:
    m = machine()
    m.run(run_ids(0, 8))
    first = m.must_start(run_ids(0, 30))
    m.step(10)
    longer = m.must_start([*run_ids(0, 16), *run_ids(100, 6)])  # reads what the first one has computed
    other = m.must_start(run_ids(200, 10))
    m.step()
    m.running.remove(first)
    m.cache.release(first.reservation, m.now, keep=False)
    assert longer.reservation.spoiled
    assert not other.reservation.spoiled
    m.finish(longer)
    m.drain()
    assert match(m, run_ids(0, 30))[0] == 8, "what was there before stays"
    assert match(m, [*run_ids(0, 16), *run_ids(100, 6)])[0] == 8
    assert match(m, run_ids(200, 10))[0] == 9
    m.run(run_ids(0, 30))
    assert match(m, run_ids(0, 30))[0] == 29, "computed again, it is kept"
