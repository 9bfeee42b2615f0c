"""What goes to a lower tier and comes back: who waits, who computes when it does not come, and what is told of it."""

import pytest

from cache.harness import Machine
from foreword.account import MissReason, Source
from foreword.cache import CacheConfig, LoadBlocks, Mark, PrivatePart, StoreBlocks
from foreword.cache.transfers import GIVEN_AGAIN
from foreword.testing.hash_kv import SPACE
from foreword.tokens import pack_tokens

PREFIX = list(range(24))
BLOCKS = 6


def machine(blocks: int = 64, first_use_share: float = 0.0) -> Machine:
    return Machine(CacheConfig(num_blocks=blocks, block_size=4, stores=True, first_use_share=first_use_share))


def restarted(private: PrivatePart | None = None) -> Machine:
    """A cache that knows nothing of a prefix, over a tier that has it."""
    m = machine()
    m.run([*PREFIX, 90], private=private)
    m.run([*PREFIX, 91], private=private)
    m.cache.reset()
    return m


def under_way(m: Machine) -> list[LoadBlocks | StoreBlocks]:
    m.carry_out()
    return m.tier.under_way


def test_what_is_used_a_second_time_is_stored_once() -> None:
    m = machine()
    m.run([*PREFIX, 90])
    assert under_way(m) == []
    request = m.must_start([*PREFIX, 91])
    (store,) = under_way(m)
    assert (store.start, store.until, len(store.blocks)) == (0, 24, BLOCKS)
    m.must_start([*PREFIX, 92])
    assert under_way(m) == [store]
    m.drain()
    m.run([*PREFIX, 93])
    assert request.ledger.account().cached == 24
    assert under_way(m) == []


def test_only_what_is_new_is_stored() -> None:
    m = machine()
    for longer in ([*PREFIX, 90], [*PREFIX, 91], [*PREFIX, *range(50, 61)]):
        m.run(longer)
    m.must_start([*PREFIX, *range(50, 60), 99])
    (store,) = under_way(m)
    assert (store.start, store.until) == (24, 32)


def test_after_a_restart_it_is_loaded_and_the_rest_is_computed() -> None:
    m = restarted()
    account = m.run([*PREFIX, 92, 93])
    assert account.by_source[Source.STORED_LOCAL] == account.stored == 24
    assert account.computed == 2
    assert (account.position, account.miss_reason) == (24, MissReason.FIRST_SEEN)


def test_a_match_says_what_would_be_loaded() -> None:
    m = restarted()
    packed = b"".join(token.to_bytes(4, "little") for token in [*PREFIX, 92])
    match = m.cache.match(SPACE, packed, stored=m.tier.has(SPACE.key, packed, None))
    assert (match.cached, match.in_flight, match.stored, match.found) == (0, 0, 24, 24)


def test_a_prompt_that_is_stored_whole_is_complete_but_for_its_last_block() -> None:
    m = restarted()
    account = m.run(PREFIX)
    assert (account.stored, account.computed, account.miss_reason) == (20, 4, MissReason.COMPLETE)


def test_nobody_computes_what_is_under_way_and_all_who_want_it_share_it() -> None:
    m = restarted()
    first, second = m.must_start([*PREFIX, 92]), m.must_start([*PREFIX, 93])
    (load,) = under_way(m)
    assert [m.step() for _ in range(3)] == [0, 0, 0]
    m.end_transfer(load)
    assert m.complete() == 2
    for request in (first, second):
        account = request.ledger.account()
        assert (account.stored, account.shared_in_flight, account.computed) == (24, 0, 1)
    m.drain()


@pytest.mark.parametrize("blocks", range(BLOCKS))
def test_what_does_not_come_is_computed_and_told(blocks: int) -> None:
    m = restarted()
    request = m.must_start([*PREFIX, 92])
    (load,) = under_way(m)
    m.end_transfer(load, blocks)
    m.drain()
    account = request.ledger.account()
    assert (account.stored, account.computed) == (blocks * 4, 25 - blocks * 4)
    assert (account.miss_reason, account.position) == (MissReason.LOAD_FAILED, blocks * 4)


def test_a_load_goes_on_when_whoever_wanted_it_has_left() -> None:
    m = restarted()
    request = m.must_start([*PREFIX, 92])
    (load,) = under_way(m)
    m.finish(request)
    assert m.cache.usage().held_blocks == BLOCKS
    m.check()
    m.end_transfer(load)
    assert m.cache.usage().held_blocks == 0
    assert m.run([*PREFIX, 93]).cached == 24


def test_a_cache_that_is_emptied_meanwhile_takes_nothing_in() -> None:
    m = restarted()
    request = m.must_start([*PREFIX, 92])
    (load,) = under_way(m)
    m.cache.reset()
    m.finish(request)
    m.end_transfer(load)
    m.check()
    assert m.cache.usage().free_blocks == 64


def test_what_could_not_be_stored_is_given_again_when_it_is_used() -> None:
    m = machine()
    m.run([*PREFIX, 90])
    m.must_start([*PREFIX, 91])
    (store,) = under_way(m)
    m.end_transfer(store, 2)
    m.must_start([*PREFIX, 92])
    (again,) = under_way(m)
    assert (again.start, again.until) == (8, 24)
    m.drain()


def test_what_is_marked_is_stored_at_its_first_use() -> None:
    m = machine()
    request = m.must_start([*PREFIX, 90], marks=[Mark(13, 100.0)])
    m.complete()
    assert under_way(m) == []
    m.finish(request)
    (store,) = under_way(m)
    assert (store.start, store.until) == (0, 12)
    m.end_transfers()
    m.check()


def test_at_first_use_so_much_is_stored_as_has_credit() -> None:
    m = machine(blocks=8, first_use_share=0.5)
    m.run([*PREFIX, 90])
    m.run(list(range(100, 125)))
    assert m.tier.has(SPACE.key, pack_tokens([*PREFIX, 90]), None)[0].until == 24
    assert m.tier.has(SPACE.key, pack_tokens(range(100, 125)), None) == ()


def test_what_was_evicted_and_is_asked_for_again_is_stored_at_once() -> None:
    m = machine(blocks=8, first_use_share=0.5)
    for start in (0, 100, 200):
        m.run(list(range(start, start + 25)))
    assert m.run(list(range(100, 125))).miss_reason is MissReason.EVICTED
    m.run(list(range(200, 225)))
    assert m.run(list(range(100, 125))).computed == 1


def test_at_the_end_all_is_stored_what_was_used_last_first() -> None:
    m = machine()
    for start in (0, 100, 200):
        m.run(list(range(start, start + 10)))
    m.cache.transfers.store_all(m.now)
    assert [store.tokens[0] for store in under_way(m)] == [200, 100, 0]
    m.end_transfers()
    m.cache.transfers.store_all(m.now)
    assert under_way(m) == []


def test_what_goes_on_being_used_is_given_again_from_time_to_time() -> None:
    """A tier that has dropped it, or is to keep it for longer, hears of it so."""
    m = machine()
    for last in range(90, 93):
        m.run([*PREFIX, last])
    m.now += GIVEN_AGAIN
    m.must_start([*PREFIX, 93])
    (store,) = under_way(m)
    assert (store.start, store.until) == (0, 24)
    m.must_start([*PREFIX, 94])
    assert under_way(m) == [store], "once in a while"
    m.drain()
    m.now += GIVEN_AGAIN
    m.cache.transfers.store_all(m.now)
    assert {store.start for store in under_way(m)} == {0}, "at the end, too"
    m.end_transfers()
    m.check()


def test_without_a_tier_nothing_is_given() -> None:
    m = Machine(CacheConfig(num_blocks=64, block_size=4))
    for last in (90, 91):
        m.run([*PREFIX, last], marks=[Mark(24, 100.0)])
    m.cache.transfers.store_all(m.now)
    assert under_way(m) == []


def test_what_is_private_comes_back_to_its_owner_alone() -> None:
    mine, theirs = PrivatePart(8, "a"), PrivatePart(8, "b")
    m = restarted(mine)
    assert m.run([*PREFIX, 92], private=theirs).stored == 8
    m.cache.reset()
    assert m.run([*PREFIX, 92], private=mine).stored == 24


def test_what_had_to_make_room_comes_back_from_the_tier() -> None:
    m = machine(blocks=7)
    m.run([*PREFIX, 90])
    m.run([*PREFIX, 91])
    m.run(list(range(100, 126)))
    account = m.run([*PREFIX, 92])
    assert (account.cached, account.stored, account.computed) == (0, 24, 1)
