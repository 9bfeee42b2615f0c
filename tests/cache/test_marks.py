"""Marks: what they keep, for how long, and up to how much."""

import random

import pytest

from cache.harness import Machine
from foreword.cache import CacheConfig, Mark, Namespace, pack_tokens
from foreword.errors import ConfigError
from foreword.testing.hash_kv import SPACE

SYSTEM = list(range(1000, 1037))  # 37 tokens: its end is within a block


def machine(blocks: int = 40, **options: float) -> Machine:
    return Machine(CacheConfig(num_blocks=blocks, block_size=4, **options))  # type: ignore[arg-type]


def cached(m: Machine, ids: list[int], namespace: Namespace = SPACE) -> int:
    return m.cache.match(namespace, pack_tokens([*ids, 9999])).cached


def flood(m: Machine, count: int) -> None:
    """One-off prompts of 30 tokens."""
    for number in range(count):
        request = m.must_start([number + 10_000, *range(29)])
        m.complete()
        m.finish(request)
    m.check()


def marked_blocks(m: Machine) -> int:
    return m.cache.usage().marked_blocks


@pytest.mark.parametrize("policy", ["lru", "protected-lru"])
def test_a_flood_of_one_off_prompts_pushes_out_what_is_not_marked(policy: str) -> None:
    for marks, expected in (([], 0), ([Mark(37, 1e6)], 37)):
        m = machine(60, eviction_policy=policy)  # type: ignore[arg-type]
        m.run([*SYSTEM, 1, 2, 3], marks=marks)
        m.now += 100
        flood(m, 5000)
        assert cached(m, SYSTEM) == expected


@pytest.mark.parametrize("length", [1, 3, 4, 5, 16, 37])
def test_a_mark_keeps_its_prefix_to_the_token_and_not_a_block_more(length: int) -> None:
    m = machine()
    m.run([*SYSTEM[:length], *range(60)], marks=[Mark(length, 1e6)])
    assert marked_blocks(m) == -(-length // 4)
    flood(m, 50)
    found = cached(m, [*SYSTEM[:length], *range(60)])
    assert length <= found <= -(-length // 4) * 4
    assert cached(m, SYSTEM[:length]) == length


def test_a_mark_ends_when_its_time_is_up() -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(37, 100)])
    m.now += 90
    flood(m, 4)
    assert cached(m, SYSTEM) == 37
    m.now += 10
    flood(m, 8)
    assert cached(m, SYSTEM) == 0
    assert marked_blocks(m) == 0


def test_what_was_marked_sinks_back_to_its_place_among_the_others() -> None:
    m = machine(20, mark_budget=1)
    m.run(SYSTEM[:16], marks=[Mark(16, 50)])
    m.run(list(range(16)))
    m.now += 100
    m.run(list(range(100, 152)))  # one block more than are free: it is taken from what was marked, which is older
    assert (cached(m, SYSTEM[:16]), cached(m, list(range(16)))) == (12, 16)


@pytest.mark.parametrize(("later", "expected"), [(0, (12, 16)), (-1, (16, 12))])
def test_a_mark_lasts_until_its_last_second(later: int, expected: tuple[int, int]) -> None:
    m = machine(20, mark_budget=1)
    m.run(SYSTEM[:16], marks=[Mark(16, 50)])
    until = m.now + 50
    m.run(list(range(16)))
    m.now = until + later - 1  # a request takes the machine's next second
    m.run(list(range(100, 152)))
    assert (cached(m, SYSTEM[:16]), cached(m, list(range(16)))) == expected


def test_marks_that_end_together_end_at_once() -> None:
    m = machine()
    for start in (1000, 2000, 3000):
        m.run([start, 1, 2, 3], marks=[Mark(4, 100)])
    assert marked_blocks(m) == 3
    m.now += 100
    m.run([4000, 1])
    assert marked_blocks(m) == 0


def test_use_refreshes_a_mark_also_by_a_request_without_marks() -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(37, 100)])
    for turn in range(5):
        m.now += 60
        m.run([*SYSTEM, 2, turn])
        flood(m, 10)
    assert cached(m, SYSTEM) == 37
    m.now += 100
    flood(m, 10)
    assert cached(m, SYSTEM) == 0


@pytest.mark.parametrize("length", [36, 37])
def test_a_prompt_that_is_the_prefix_and_no_more_refreshes_its_mark(length: int) -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(length, 100)])
    m.now += 60
    m.run(SYSTEM[:length])
    m.now += 60
    flood(m, 10)
    assert cached(m, SYSTEM) == length


def test_what_a_mark_finds_that_nobody_holds_is_kept() -> None:
    m = machine()
    m.run([*SYSTEM, 1, 2, 3, 4, 5])
    for _ in range(2):
        m.run(SYSTEM, marks=[Mark(37, 1e6)])  # its end is the beginning of the other's block
        assert marked_blocks(m) == 10
        assert sorted(node.end for node in m.nodes()) == [36, 40, 42]
    flood(m, 20)
    assert cached(m, SYSTEM) == 37


def test_a_use_that_comes_too_late_refreshes_nothing() -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(37, 100)])
    m.now += 110
    m.run([*SYSTEM, 2])
    flood(m, 10)
    assert cached(m, SYSTEM) == 0


def test_a_use_of_less_than_the_marked_prefix_refreshes_nothing() -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(37, 100)])
    m.now += 60
    m.run([*SYSTEM[:36], 5])
    m.now += 60
    flood(m, 10)
    assert cached(m, SYSTEM) == 0


def test_a_request_refreshes_the_marks_that_its_own_look_back_on() -> None:
    for since, expected in ((20, 20), (21, 0)):
        m = machine(60)
        m.run(SYSTEM[:21], marks=[Mark(20, 100)])
        m.now += 60
        m.run(SYSTEM, marks=[Mark(36, 10, since)])
        m.now += 60
        flood(m, 20)
        assert cached(m, SYSTEM) == expected


def test_a_mark_refreshes_none_behind_it() -> None:
    m = machine(60)
    m.run([*SYSTEM, 1], marks=[Mark(36, 100)])
    m.now += 60
    m.run([*SYSTEM, 2], marks=[Mark(8, 1000)])
    m.now += 60
    flood(m, 20)
    assert cached(m, SYSTEM) == 8


@pytest.mark.parametrize("ttls", [(1000, 5, 5, 5), (5, 1000), (5, 5, 1000, 5)])
def test_a_mark_that_comes_again_takes_the_longer_time_and_no_more_room(ttls: tuple[int, ...]) -> None:
    m = machine()
    for number, ttl in enumerate(ttls):
        m.run([*SYSTEM, number], marks=[Mark(37, ttl)])  # each goes on differently within the block
        assert marked_blocks(m) == 10
    for _ in range(2):
        m.now += 900
        m.run([*SYSTEM, 9])
        flood(m, 10)
    assert cached(m, SYSTEM) == 37


def test_a_longer_mark_keeps_what_is_before_it_when_the_shorter_one_ends() -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(8, 10), Mark(37, 1000)])
    m.now += 100
    flood(m, 10)
    assert cached(m, SYSTEM) == 37
    assert marked_blocks(m) == 10


def test_beyond_the_budget_the_mark_used_longest_ago_lapses() -> None:
    m = machine(40, mark_budget=0.5)
    prompts = [[start, *range(31)] for start in (1000, 2000, 3000)]  # 8 blocks each, 20 may be marked
    for prompt in prompts:
        m.run(prompt, marks=[Mark(32, 1e6)])
    assert marked_blocks(m) == 16
    m.run(prompts[0])
    flood(m, 20)
    assert [cached(m, prompt) for prompt in prompts] == [0, 32, 32]
    assert marked_blocks(m) == 16


def test_of_a_prompts_marks_the_longest_lapses_first() -> None:
    m = machine(40, mark_budget=0.25)
    m.run([*SYSTEM, 1], marks=[Mark(8, 1e6), Mark(36, 1e6)])
    m.run(list(range(20)), marks=[Mark(16, 1e6)])
    assert marked_blocks(m) == 6
    flood(m, 20)
    assert (cached(m, SYSTEM), cached(m, list(range(16)))) == (8, 16)


def test_as_many_marks_lapse_as_must_and_as_many_stay_as_fit() -> None:
    m = machine(8, mark_budget=0.5)
    prompts = [[start, 1, 2, 3] for start in (1000, 2000, 3000, 4000)]
    for prompt in prompts:
        m.run(prompt, marks=[Mark(4, 1e6)])
    assert marked_blocks(m) == 4
    m.run(list(range(12)), marks=[Mark(12, 1e6)])
    assert marked_blocks(m) == 4
    m.run(list(range(100, 116)))
    assert [cached(m, prompt) for prompt in prompts] == [0, 0, 0, 4]


def test_a_cut_prefix_that_comes_back_does_not_keep_more_than_the_budget() -> None:
    m = machine(20, mark_budget=0.5)
    m.run(SYSTEM[:36], marks=[Mark(36, 1e6)])
    m.run(list(range(56)))  # takes 14 of the 20 blocks: 6 of 9 stay
    m.run(list(range(16)), marks=[Mark(16, 1e6)])
    assert marked_blocks(m) == 10
    m.must_start(SYSTEM[:36])
    m.must_start(list(range(100, 120)))
    assert marked_blocks(m) == 4
    m.drain()


def test_a_use_saves_a_mark_from_lapsing() -> None:
    m = machine(40, mark_budget=0.5)
    prompts = [[start, *range(31)] for start in (1000, 2000, 3000)]
    for prompt in (prompts[0], prompts[1], prompts[0], prompts[2]):
        m.run(prompt, marks=[Mark(32, 1e6)])
    flood(m, 20)
    assert [cached(m, prompt) for prompt in prompts] == [32, 0, 32]


def test_of_a_prefix_larger_than_the_budget_the_beginning_is_kept() -> None:
    m = machine(40, mark_budget=0.25)
    m.run(list(range(100)), marks=[Mark(90, 1e6)])
    assert marked_blocks(m) == 10
    flood(m, 20)
    assert cached(m, list(range(100))) == 40


def test_marks_never_pin() -> None:
    m = machine(10, mark_budget=1)
    m.run(SYSTEM[:36], marks=[Mark(36, 1e6)])
    m.run(list(range(40)))  # needs every block
    assert cached(m, SYSTEM) == 0
    assert marked_blocks(m) == 0


def test_without_a_budget_a_mark_is_nothing() -> None:
    m = machine(mark_budget=0)
    m.run([*SYSTEM, 1], marks=[Mark(37, 1e6)])
    flood(m, 20)
    assert cached(m, SYSTEM) == 0


def test_a_mark_on_nothing_is_none() -> None:
    m = machine()
    m.run(SYSTEM, marks=[Mark(0, 1e6)])
    assert len(m.cache.parts.marked) == 0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_the_budget_is_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match="mark_budget is"):
        CacheConfig(mark_budget=share)


def test_what_was_not_computed_is_not_marked() -> None:
    m = machine()
    request = m.must_start(SYSTEM, marks=[Mark(8, 1e6), Mark(36, 1e6)])
    m.step(budget=20)
    m.finish(request)
    m.check()
    assert marked_blocks(m) == 2


def test_a_request_that_goes_on_in_the_marked_block_leaves_it_marked() -> None:
    m = machine()
    m.run(SYSTEM, marks=[Mark(37, 1e6)])  # a warm-up: its end is the end of the sequence
    m.run([*SYSTEM, 1, 2, 3, 4, 5])
    flood(m, 20)
    assert cached(m, SYSTEM) == 37


def test_the_mark_outlives_the_child_that_it_kept() -> None:
    m = machine()
    first = m.must_start([*SYSTEM, 1], marks=[Mark(37, 1e6)])
    m.complete()
    m.finish(first)
    second, third = m.must_start([*SYSTEM, 1, 2]), m.must_start([*SYSTEM, 3])
    m.complete()
    m.finish(second)
    m.finish(third)
    m.check()
    flood(m, 20)
    assert cached(m, SYSTEM) == 37


def test_namespaces_have_marks_of_their_own() -> None:
    m = machine(60)
    other = Namespace(SPACE.model, tenant="other")
    m.run([*SYSTEM, 1], marks=[Mark(37, 1e6)])
    m.run([*SYSTEM, 1], other)
    flood(m, 30)
    assert (cached(m, SYSTEM), cached(m, SYSTEM, other)) == (37, 0)


def test_a_reset_forgets_marks_also_of_what_is_running() -> None:
    m = machine()
    m.run([*SYSTEM, 1], marks=[Mark(37, 1e6)])
    request = m.must_start([*SYSTEM, 2], marks=[Mark(37, 1e6)])
    m.cache.reset()
    assert marked_blocks(m) == 0
    m.complete()
    m.finish(request)
    m.check()
    assert marked_blocks(m) == 0
    flood(m, 20)


def test_what_is_left_of_a_cut_prefix_stays_marked_when_the_edge_is_split() -> None:
    m = machine(20, mark_budget=1)
    m.run(SYSTEM[:36], marks=[Mark(36, 1e6)])
    holder = m.must_start(list(range(56)))  # takes 14 of the 20 blocks: 6 of 9 stay
    m.check()
    assert (cached(m, SYSTEM), marked_blocks(m)) == (24, 6)
    m.drain()
    m.run([*SYSTEM[:24], 7, 7])  # parts where the blocks end
    m.run(list(range(100, 144)))
    assert (cached(m, SYSTEM), marked_blocks(m)) == (24, 6)
    assert holder.ledger.account().computed == 56


def test_of_cut_prefixes_the_one_kept_longest_goes_on() -> None:
    m = machine(20, mark_budget=1)
    m.run([*SYSTEM, 1], marks=[Mark(36, 100), Mark(37, 1000)])
    m.run(list(range(56)))  # 6 of 10 blocks stay
    m.run([*SYSTEM[:24], 7, 7])  # parts where they end
    assert marked_blocks(m) == 6
    m.now += 200
    m.run(list(range(100, 144)))
    assert (cached(m, SYSTEM), marked_blocks(m)) == (24, 6)


def test_marks_that_come_and_go_do_not_lengthen_another_ones_time() -> None:
    m = machine(40, mark_budget=0.25)
    m.run([5000, 1, 2, 3], marks=[Mark(4, 1000)])
    for number in range(200):
        m.run([5000, 1, 2, 3])
        m.run([number, *range(10)], marks=[Mark(9, 1e6)])
    assert cached(m, [5000, 1, 2, 3]) == 4
    m.now += 1000
    m.run([1, 2])
    assert [prefix.ttl_seconds for prefix in m.cache.parts.marked_prefixes()] == [1e6, 1e6, 1e6]


def test_many_marks_that_come_and_go_leave_nothing_behind() -> None:
    m = machine(64, mark_budget=0.5)
    for number in range(1000):
        m.run([number, *range(10)], marks=[Mark(9, 1e6)])
    marked, marks = m.cache.parts.marked, m.cache.parts.marks
    assert len(marked) <= 11
    assert marks.expiries <= 4 * len(marked) + 65
    assert marked.anchors <= len(marked)


def test_marks_that_lost_what_they_kept_are_not_gathered() -> None:
    m = machine(4, mark_budget=1)
    for number in range(50):
        m.run([number], marks=[Mark(1, 1e6)])
        m.run(list(range(100, 116)))  # takes all blocks
    assert len(m.cache.parts.marked) <= 4


def test_a_marked_prefix_within_the_budget_stays_whatever_comes() -> None:
    for seed in range(150):
        rng = random.Random(seed)
        size = rng.choice([1, 2, 4, 16])
        m = Machine(CacheConfig(num_blocks=40, block_size=size, mark_budget=0.5))
        length = rng.randrange(1, 18 * size)
        prompt = rng.choices(range(3), k=length)
        m.run([*prompt, *rng.choices(range(3), k=rng.randrange(3 * size))], marks=[Mark(length, 1e9)])
        for _ in range(60):
            head = prompt[: rng.randrange(length + 1)] if rng.random() < 0.5 else [7]
            m.run([*head, *rng.choices(range(3), k=rng.randrange(1, 10 * size))])
            assert cached(m, prompt) == length, seed
