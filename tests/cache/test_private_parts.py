"""What a tenant keeps private: shared with nobody else, whoever came first; what stands before it is shared to the token."""

import random

import pytest

from cache.harness import Machine, machine, match, reason, run_ids
from foreword.cache import CacheConfig, HitEnd, Mark, MissReason, PrivatePart, pack_tokens, unpack_tokens
from foreword.cache.tree import child_key, key_tokens
from foreword.events import BlockRemoved, BlockStored
from foreword.testing.hash_kv import SPACE

PROMPT = run_ids(0, 14)
LENGTHS = [0, 1, 3, 4, 5, 7, 8, 11, 12, 13]


def of(owner: str, start: int) -> PrivatePart:
    return PrivatePart(start, owner)


@pytest.mark.parametrize("start", LENGTHS)
def test_two_owners_share_what_is_public_to_the_token_and_nothing_behind_it(start: int) -> None:
    m = machine()
    hits = [m.run(PROMPT, private=of(owner, start)).cached for owner in ("a", "b", "a", "b")]
    assert hits == [0, start, 13, 13]


@pytest.mark.parametrize("start", LENGTHS)
def test_what_is_everyones_and_what_is_an_owners_part_where_his_part_begins(start: int) -> None:
    m = machine()
    assert m.run(PROMPT, private=of("a", start)).cached == 0
    assert m.run(PROMPT).cached == start
    assert m.run(PROMPT, private=of("b", start)).cached == start
    assert m.run(PROMPT).cached == 13


def test_one_owners_parts_that_begin_elsewhere_are_apart() -> None:
    m = machine()
    m.run(PROMPT, private=of("a", 5))
    assert m.run(PROMPT, private=of("a", 7)).cached == 5
    assert m.run(PROMPT, private=of("a", 5)).cached == 13


def test_in_flight_too() -> None:
    m = machine()
    first = m.must_start(PROMPT, private=of("a", 6))
    assert match(m, PROMPT, private=of("b", 6)) == (0, 6, 0)
    assert match(m, PROMPT, private=of("a", 6)) == (0, 13, 0)
    second = m.must_start(PROMPT, private=of("b", 6))
    assert m.complete() == 14 + 8
    assert (first.ledger.account().computed, second.ledger.account().shared_in_flight) == (14, 6)
    m.drain()


def test_only_public_tokens_are_copied_into_anothers_block() -> None:
    m = machine()
    m.run(PROMPT, private=of("a", 6))
    request = m.must_start(PROMPT, private=of("b", 6))
    copy = m.hold(request).copy
    assert copy is not None
    assert copy.tokens == 2  # of the block of tokens 4 to 7
    m.drain()


def test_answers_behind_a_public_prompt_are_their_owners() -> None:
    for length in (7, 8, 9):
        m = machine()
        request = m.must_start(run_ids(0, length), private=of("a", length))
        m.complete()
        for token in (90, 91, 92, 93, 94):
            assert m.generate(request, token)
            m.complete()
        m.finish(request)
        m.check()
        goes_on = [*run_ids(0, length), 90, 91, 92, 93, 94, 95]
        assert match(m, goes_on, private=of("b", length))[0] == length
        assert match(m, goes_on)[0] == length
        assert match(m, goes_on, private=of("a", length))[0] == length + 5


def test_who_came_first_makes_no_difference_and_neither_does_a_restart() -> None:
    """In any order, in caches that know nothing of each other, the same requests leave the same to the same owners."""
    requests = [(PROMPT, of(owner, 6)) for owner in ("a", "b", "c")]
    left = []
    for seed in range(4):
        m = Machine(CacheConfig(num_blocks=64, block_size=4))
        for ids, private in random.Random(seed).sample(requests, 3):
            m.run(ids, private=private)
        left.append({(root, at, tokens, owner, since) for root, at, tokens, owner, since in m.observer.stored.values()})
        keys = {node.key for node in m.nodes()}
        assert {child_key(pack_tokens(PROMPT[4:8]), 4, private) for _, private in requests} <= keys
    assert left[0] == left[1] == left[2] == left[3]


def test_no_two_owners_have_one_key_and_no_key_is_one_of_tokens() -> None:
    owners = ["", "a", "aa", "aaa", "aaaa", "aaaaa", "b", "a\0", "a\0\0\0", "é", "\udc80", "t+", "a" * 300]
    keys = {of(owner, 2).key for owner in owners}
    assert len(keys) == len(owners)
    assert not any(one != two and two.startswith(one) for one in keys for two in keys)
    block = pack_tokens([2**31 - 1] * 4)
    for owner in owners:
        key = child_key(block, 0, of(owner, 2))
        assert key != block
        assert key_tokens(key) == key_tokens(block) == 4
        assert child_key(block, 0, of(owner, 4)) == child_key(block, 8, of(owner, 4)) == block


def test_more_owners_than_31_bits_had_room_for_are_only_names() -> None:
    m = machine(blocks=400)
    for number in range(300):
        assert m.run(run_ids(0, 6), private=of(f"tenant {number}", 5)).cached == (5 if number else 0)
    assert match(m, run_ids(0, 7), private=of("tenant 299", 5))[0] == 6


# ---- what is told


@pytest.mark.parametrize("start", [4, 6, 8])
def test_a_reason_shows_nothing_of_another_owner(start: int) -> None:
    m = machine()
    secret = [*run_ids(0, start), *run_ids(70, 9)]
    m.run(secret, private=of("a", start))
    mine = [*run_ids(0, start), *run_ids(80, 9)]
    assert reason(m.must_start(mine, private=of("b", start))) == HitEnd(MissReason.FIRST_SEEN, start)
    assert reason(m.must_start(secret)) == HitEnd(MissReason.FIRST_SEEN, start)
    m.drain()
    again = m.must_start([*mine[:-2], 99, 99], private=of("b", start))
    assert reason(again) == HitEnd(MissReason.DIVERGED, len(mine) - 2, pack_tokens(mine[-2:]))
    m.drain()


def test_of_anothers_block_the_public_tokens_are_shown() -> None:
    m = machine()
    m.run([*run_ids(0, 7), 70, 70], private=of("a", 7))
    end = reason(m.must_start([0, 1, 2, 3, 4, 50, 51, 52], private=of("b", 7)))
    assert (end.reason, end.position, unpack_tokens(end.nearest)) == (MissReason.DIVERGED, 5, [5, 6])
    m.drain()


def test_evicted_private_tokens_are_missed_by_their_owner_only() -> None:
    m = machine(blocks=8)
    m.run(PROMPT, private=of("a", 6))
    m.run(run_ids(100, 32))
    assert match(m, PROMPT, private=of("a", 6)) == (0, 0, 12)
    assert match(m, PROMPT, private=of("b", 6)) == (0, 0, 4)  # the block of the boundary is a's
    assert reason(m.must_start(PROMPT[:10], private=of("a", 6))).lost_tokens == 9
    m.drain()


def test_events_have_true_tokens_and_say_whose_they_are() -> None:
    m = machine(blocks=4)
    m.run(run_ids(0, 10), private=of("a", 6))
    assert [event for event in m.events if isinstance(event, BlockStored)] == [
        BlockStored(SPACE.key, 0, pack_tokens(run_ids(0, 4)), (0,)),
        BlockStored(SPACE.key, 4, pack_tokens(run_ids(4, 6)), (1, 2), "a", 6, parent=0),
    ]
    m.run(run_ids(50, 12))
    assert [event for event in m.events if isinstance(event, BlockRemoved)] == [
        BlockRemoved(SPACE.key, 4, 6, (1, 2), "a", 6),
    ]


# ---- marks


@pytest.mark.parametrize("position", [5, 6, 7, 8, 9, 13])
def test_a_mark_keeps_its_owners_prefix(position: int) -> None:
    m = Machine(CacheConfig(num_blocks=16, block_size=4))
    m.run(PROMPT, marks=[Mark(position, 1e6)], private=of("a", 6))
    m.run([*PROMPT[:13], 99], private=of("a", 6))  # uses it
    for number in range(6):
        m.run(run_ids(1000 * number + 1000, 20))
    assert match(m, PROMPT, private=of("a", 6))[0] >= position
    assert match(m, PROMPT, private=of("b", 6))[0] == 6  # the block of the boundary is kept whole


def test_an_owners_use_refreshes_no_mark_of_anothers() -> None:
    m = Machine(CacheConfig(num_blocks=32, block_size=4))
    m.run(PROMPT, marks=[Mark(7, 10)], private=of("a", 6))
    (prefix,) = m.cache.parts.marked_prefixes()
    until = prefix.until
    m.now += 5
    m.run(PROMPT, private=of("b", 6))
    assert prefix.until == until
    m.run(PROMPT, private=of("a", 6))
    assert prefix.until > until
