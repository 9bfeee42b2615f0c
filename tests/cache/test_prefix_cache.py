"""Small exact cases of the whole cache, in blocks of four tokens. Requests side by side: test_running_requests.py."""

import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from cache.harness import Machine, machine, match, reason, run_ids
from foreword.cache import (
    CacheConfig,
    CopyBlock,
    HitEnd,
    MissReason,
    ModelFingerprint,
    Namespace,
    RequestLedger,
    pack_tokens,
)
from foreword.errors import ConfigError, PromptError
from foreword.events import AllBlocksCleared, BlockStored
from foreword.testing.hash_kv import MODEL, SPACE, Running

# ---- hits


def test_a_prompt_takes_consecutive_blocks_and_one_token_of_a_repeat_is_computed() -> None:
    m = machine()
    first = m.must_start(run_ids(0, 10))
    assert first.reservation.table.tolist() == [0, 1, 2]
    assert m.complete() == 10
    m.finish(first)
    again = m.must_start(run_ids(0, 10))
    assert again.reservation.table[:2].tolist() == [0, 1]
    assert m.complete() == 1
    m.drain()
    record = again.ledger.account()
    assert (record.cached, record.computed) == (9, 1)
    assert reason(again) == HitEnd(MissReason.COMPLETE, 9)


def test_a_hit_is_token_exact_and_the_partial_block_is_copied() -> None:
    m = machine()
    m.run(run_ids(0, 12))
    request = m.must_start([*run_ids(0, 6), 99, 98])
    assert reason(request) == HitEnd(MissReason.DIVERGED, 6, pack_tokens(run_ids(6, 6)))
    chunk = m.cache.plan(request.reservation, 8, 100)
    assert chunk is not None
    assert (chunk.start, chunk.end) == (6, 8)
    assert m.cache.actions.take() == (CopyBlock(source=1, target=int(request.reservation.table[1]), tokens=2),)
    assert request.reservation.table[0] == 0
    m.cache.abandon(request.reservation)
    m.drain()


@pytest.mark.parametrize("shared", range(1, 14))
def test_the_hit_is_the_whole_common_prefix_at_every_length(shared: int) -> None:
    m = machine()
    m.run(run_ids(0, 13))
    assert m.run([*run_ids(0, shared), 77, 78]).cached == shared


def test_a_shared_prefix_shorter_than_a_block_hits() -> None:
    m = machine(size=16)
    m.run([1, 2, 3])
    assert m.run([1, 2, 3, 4, 5]).cached == 3
    assert m.run([1, 9]).cached == 1


def test_generated_tokens_are_cached_like_prompt_tokens() -> None:
    m = machine()
    request = m.must_start([1, 2, 3])
    m.complete()
    for token in (4, 5, 6):
        assert m.generate(request, token)
        m.complete()
    assert m.generate(request, 7)  # sampled, but its KV was never computed
    m.finish(request)
    assert match(m, [1, 2, 3, 4, 5, 6, 7, 8]) == (6, 0, 0)
    m.drain()


def test_a_conversation_that_goes_on_writes_on_in_the_block_of_the_last_turn() -> None:
    m = machine()
    m.run([1, 2, 3, 4, 5, 6])
    request = m.must_start([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert request.reservation.table.tolist() == [0, 1, 2]
    chunk = m.cache.plan(request.reservation, 9, 100)
    assert chunk is not None
    assert (chunk.start, m.cache.actions.take()) == (6, ())
    m.cache.abandon(request.reservation)
    m.drain()
    assert m.cache.usage().free_blocks == 61


def test_tokens_are_compared_not_hashes() -> None:
    """Two blocks with one CRC: a cache that trusts such a name would reuse the wrong KV."""
    crc, pair = 0, None
    seen: dict[int, list[int]] = {}
    for number in range(400_000):
        block = [number, number * 7 % 1000, 0, 0]
        crc = zlib.crc32(pack_tokens(block)) & 0xFFFFFF
        if crc in seen:
            pair = seen[crc], block
            break
        seen[crc] = block
    assert pair is not None
    m = machine()
    m.run([*pair[0], 1])
    assert m.run([*pair[1], 1]).cached < 4


def test_an_empty_prompt_is_refused_everywhere() -> None:
    cache = machine().cache
    for use_cache in (True, False):
        with pytest.raises(PromptError, match="at least one token"):
            cache.match(SPACE, b"", use_cache=use_cache)


# ---- accounts and reasons


def test_preempted_and_recomputed_tokens_are_no_hits() -> None:
    m = machine(blocks=8)
    request = m.must_start(run_ids(0, 16))
    m.complete()
    m.finish(request)  # preempted: the blocks stay
    m.run(run_ids(100, 24))  # and half of them are evicted
    reservation = m.cache.reserve(m.cache.match(SPACE, pack_tokens(run_ids(0, 16))), request.ledger, m.now)
    assert reservation is not None
    again = Running(SPACE, run_ids(0, 16), 16, request.ledger, reservation, request.hashes)
    m.running.append(again)
    m.drain()
    record = request.ledger.account()
    assert (record.cached, record.computed) == (0, 16)
    assert record.recomputed > 0
    assert record.hit_end == HitEnd(MissReason.FIRST_SEEN, 0)


def test_ghosts_tell_evicted_from_never_seen() -> None:
    m = machine(blocks=8)
    m.run(run_ids(0, 16))
    m.run(run_ids(100, 32))
    assert match(m, run_ids(0, 16)) == (0, 0, 15)
    evicted, unseen = m.run(run_ids(0, 12)).hit_end, m.run(run_ids(500, 12)).hit_end
    assert evicted == HitEnd(MissReason.EVICTED, 0, lost_tokens=11, evicted_at=3.0)
    assert unseen == HitEnd(MissReason.FIRST_SEEN, 0)


def test_part_of_an_edge_is_evicted_and_the_rest_still_hits() -> None:
    m = machine(blocks=8)
    m.run(run_ids(0, 24))
    m.run(run_ids(100, 16))
    record = m.run(run_ids(0, 24))
    assert record.cached == 16
    assert record.hit_end == HitEnd(MissReason.EVICTED, 16, lost_tokens=7, evicted_at=3.0)


def test_the_ghost_of_a_block_does_not_hide_another_block_that_begins_like_it() -> None:
    m = machine(blocks=12)
    m.run([*run_ids(0, 6), 70, 71, 72, 73])
    m.run([*run_ids(0, 6), 80, 81, 82, 83])
    m.now += 1
    m.run(run_ids(200, 36))  # the first one's own blocks have to go, the second one's stay
    prompt = [*run_ids(0, 6), 70, 71, 72, 73, 74]
    assert match(m, prompt) == (6, 0, 2)
    first, second = m.must_start(prompt), m.must_start(prompt)
    assert m.complete() == 5 + 1
    assert first.ledger.account().cached == 6
    assert second.ledger.account().shared_in_flight == 6
    m.drain()


def test_an_open_end_goes_with_its_block() -> None:
    m = machine(blocks=8)
    m.run(run_ids(0, 10))
    m.run(run_ids(100, 24))  # takes the last of the three blocks
    assert match(m, run_ids(0, 12)) == (8, 0, 0)
    assert m.cache.usage().ghost_tokens == 0
    m.run(run_ids(200, 28))
    assert match(m, run_ids(0, 12)) == (0, 0, 8)


def test_without_ghosts_evicted_prefixes_are_forgotten() -> None:
    m = machine(blocks=8, ghosts=0)
    m.run(run_ids(0, 16))
    m.run(run_ids(100, 32))
    assert m.cache.usage().ghost_tokens == 0
    assert m.run(run_ids(0, 12)).hit_end == HitEnd(MissReason.FIRST_SEEN, 0)


def test_ghosts_stay_within_their_budget() -> None:
    m = machine(blocks=8, ghosts=2)
    for number in range(12):
        m.run(run_ids(100 * number, 32))
        assert m.cache.usage().ghost_tokens <= 64
    assert match(m, run_ids(100 * 10, 32))[2] > 0
    assert match(m, run_ids(0, 32))[2] == 0


def test_the_cache_can_be_off_for_one_request_or_for_all() -> None:
    m = machine()
    m.run([1, 2, 3, 4, 5])
    alone = m.start([1, 2, 3, 4, 5], use_cache=False)
    assert alone is not None
    assert m.complete() == 5
    assert reason(alone) == HitEnd(MissReason.DISABLED, 0)
    m.drain()
    off = Machine(CacheConfig(num_blocks=8, block_size=4, enable_prefix_caching=False))
    off.run([1, 2, 3, 4, 5])
    record = off.run([1, 2, 3, 4, 5])
    assert (record.cached, record.computed) == (0, 5)
    assert off.cache.usage().free_blocks == 8
    assert match(off, [1, 2, 3]) == (0, 0, 0)


# ---- namespaces


def others() -> Iterator[Namespace]:
    yield Namespace(ModelFingerprint(weights="other"))
    yield Namespace(MODEL, adapter="a")
    yield Namespace(MODEL, tenant="a")
    yield Namespace(MODEL, cache_salt="a")


@pytest.mark.parametrize("other", list(others()))
def test_what_differs_in_one_part_never_shares_and_is_told_nothing_of_it(other: Namespace) -> None:
    m = machine()
    m.run(run_ids(0, 9))
    record = m.run(run_ids(0, 9), other)
    assert record == machine().run(run_ids(0, 9), other), "as if the other namespace were not there"
    assert (record.cached, record.hit_end) == (0, HitEnd(MissReason.FIRST_SEEN, 0))


def test_two_salts_never_share_and_one_does() -> None:
    m = machine()
    one, two = Namespace(MODEL, cache_salt="one"), Namespace(MODEL, cache_salt="two")
    hits = [m.run(run_ids(0, 9), space).cached for space in (one, two, one, Namespace(MODEL, cache_salt="two"))]
    assert hits == [0, 0, 8, 8]


def test_equal_text_in_the_slot_of_another_part_does_not_share() -> None:
    m = machine()
    m.run(run_ids(0, 9), Namespace(MODEL, adapter="x"))
    assert m.run(run_ids(0, 9), Namespace(MODEL, cache_salt="x")).cached == 0
    assert m.run(run_ids(0, 9), Namespace(MODEL, tenant="x")).cached == 0


def test_namespaces_that_are_empty_are_swept_out() -> None:
    m = machine(blocks=4, ghosts=0)
    for number in range(1000):
        m.run(run_ids(0, 16), Namespace(MODEL, cache_salt=str(number)))
    assert len(m.cache.parts.namespaces) == len(m.cache.parts.tree.roots) < 200


# ---- the rest of the interface


def test_a_look_up_changes_nothing() -> None:
    m = machine()
    m.run(run_ids(0, 10))
    before = [(node.start, node.end, node.last_use) for node in m.nodes()], m.cache.usage(), len(m.events)
    match(m, [*run_ids(0, 6), 99])
    match(m, run_ids(0, 10), Namespace(MODEL, tenant="nobody"))
    assert before == ([(node.start, node.end, node.last_use) for node in m.nodes()], m.cache.usage(), len(m.events))
    assert len(m.cache.parts.tree.roots) == 1


def test_a_match_that_nothing_has_changed_is_believed_and_an_old_one_is_looked_up_again() -> None:
    m = machine()
    m.run(run_ids(0, 10))
    before = m.cache.match(SPACE, pack_tokens(run_ids(0, 12)))
    assert m.cache.match(SPACE, pack_tokens(run_ids(50, 4))).version == before.version
    request = m.must_start(run_ids(0, 12))
    assert match(m, run_ids(0, 12)) == (8, 3, 0)  # the tree has changed
    assert m.cache.match(SPACE, pack_tokens(run_ids(0, 12))).version != before.version
    m.complete()
    ledger = RequestLedger(12)
    reservation = m.cache.reserve(before, ledger, m.now)
    assert reservation is not None
    assert ledger.account().cached == 11
    m.cache.release(reservation, m.now)
    m.finish(request)
    m.check()


def test_a_look_up_in_one_namespace_says_nothing_of_another() -> None:
    m = machine()
    m.run(run_ids(0, 10))
    m.run(run_ids(50, 10), Namespace(MODEL, tenant="other"))
    match(m, run_ids(0, 12))
    assert m.must_start(run_ids(0, 12), Namespace(MODEL, tenant="other")).ledger.account().cached == 0
    m.drain()


def test_reset_forgets_everything_and_running_requests_go_on() -> None:
    m = machine()
    m.run(run_ids(0, 10))
    running = m.must_start(run_ids(0, 12))
    m.cache.reset()
    assert m.events[-1] == AllBlocksCleared()
    told = len(m.events)
    m.check()
    assert match(m, run_ids(0, 10)) == (0, 0, 0)
    m.complete()
    m.finish(running)
    m.check()
    assert m.cache.usage().free_blocks == 64
    assert len(m.events) == told  # what belongs to no namespace any more is nobody's news


def test_events_name_the_tokens_of_each_block_parents_first() -> None:
    m = machine()
    request = m.must_start(run_ids(0, 10))
    m.step(6)
    m.complete()
    assert m.events == [
        BlockStored(SPACE.key, 0, pack_tokens(run_ids(0, 6)), (0, 1)),
        BlockStored(SPACE.key, 4, pack_tokens(run_ids(4, 6)), (1, 2), parent=0),  # with the begun block, now full
    ]
    m.finish(request)
    m.check()


def test_a_release_that_changes_nothing_tells_nothing() -> None:
    m = machine()
    m.run([*run_ids(0, 8), *run_ids(50, 6)])
    request = m.must_start([*run_ids(0, 8), *run_ids(60, 6)])
    m.complete()
    told = len(m.events)
    m.finish(request)
    m.check()
    assert len(m.events) == told


@pytest.mark.parametrize(
    "options", [{"num_blocks": 0}, {"block_size": 0}, {"eviction_policy": "fifo"}, {"ghost_ratio": -1.0}]
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        CacheConfig(**options)  # type: ignore[arg-type]


def test_two_caches_do_not_meet() -> None:
    one, two = machine(), machine()
    one.run(run_ids(0, 9))
    assert match(two, run_ids(0, 9)) == (0, 0, 0)
    assert np.array_equal(two.cache.parts.pool.free_blocks(), machine().cache.parts.pool.free_blocks())
