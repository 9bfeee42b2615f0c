"""Who waits for a copy, what it has to compute meanwhile, and what becomes of a copy that is not needed any more."""

from cache.harness import machine, run_ids
from foreword.cache import Chunk


def test_a_request_waits_for_the_tokens_it_copies_and_for_no_more() -> None:
    m = machine()
    first = m.must_start(run_ids(0, 12))
    second = m.must_start([*run_ids(0, 6), 90, 91])
    assert m.cache.plan(first.reservation, 12, 3) == Chunk(0, 3)
    assert m.cache.plan(second.reservation, 8, 100) == Chunk(3, 4), "the block before, which it shares"
    for request in (first, second):
        m.cache.commit(request.reservation)
    assert m.cache.plan(second.reservation, 8, 100) is None, "nothing but what the first one computes"
    assert m.cache.plan(first.reservation, 12, 100) == Chunk(4, 12)
    assert m.cache.plan(second.reservation, 8, 100) is None
    m.cache.commit(first.reservation)
    assert m.cache.actions.take() == ()
    assert m.cache.plan(second.reservation, 8, 100) == Chunk(6, 8)
    assert [action.tokens for action in m.cache.actions.take()] == [2]


def test_a_source_that_was_given_up_half_way_is_computed_not_copied() -> None:
    m = machine()
    first = m.must_start(run_ids(0, 12))
    second = m.must_start([*run_ids(0, 7), 90, 91])
    m.step(5)
    m.finish(first)
    assert m.complete() == 9 - 4  # the begun block is not kept
    m.drain()
    assert second.ledger.account().computed == 5


def test_the_source_of_a_copy_outlives_its_owner() -> None:
    m = machine(blocks=5)
    m.run(run_ids(0, 7))
    request = m.must_start([*run_ids(0, 6), 90, 91])  # copies from the second block
    copy = m.hold(request).copy
    assert copy is not None
    assert m.start(run_ids(50, 12)) is None, "a pinned block is nobody's room"
    assert copy.source not in m.cache.parts.pool.free_blocks()
    m.drain()
    assert m.cache.parts.pool.limbo_blocks() == set()


def test_a_copy_that_somebody_else_made_needless_is_forgotten() -> None:
    m = machine()
    m.run(run_ids(0, 7))
    one, two = (m.must_start([*run_ids(0, 6), 90, 91, 92]) for _ in range(2))
    assert m.hold(one).copy is not None
    m.complete()
    assert m.hold(one).copy is m.hold(two).copy is None
    m.drain()
