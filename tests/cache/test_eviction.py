"""Who goes first, and what never goes."""

import random

import pytest

from cache.harness import Machine, match
from foreword.cache import CacheConfig, PrefixCache, pack_tokens
from foreword.cache.eviction import LRU, EvictionPolicy, EvictionQueue, LearnedReuse, ProtectedLRU
from foreword.cache.tree import NO_BLOCKS, Node
from foreword.events import BlockRemoved
from foreword.replay import process
from foreword.testing.hash_kv import SPACE


def machine(blocks: int, policy: str = "lru") -> Machine:
    return Machine(CacheConfig(num_blocks=blocks, block_size=4, eviction_policy=policy))


def cached(m: Machine, ids: list[int]) -> int:
    return m.cache.match(SPACE, pack_tokens(ids)).cached


def ids(start: int, count: int) -> list[int]:
    return list(range(start, start + count))


def leaf(last_use: float) -> Node:
    tokens = pack_tokens([1, 2, 3, 4])
    node = Node(None, tokens, memoryview(tokens), 0, NO_BLOCKS)
    node.last_use = last_use
    return node


def test_the_least_recently_used_goes_first_and_use_refreshes() -> None:
    m = machine(12)
    for start in (0, 100, 200):
        m.run(ids(start, 16))
    m.run([*ids(0, 16)])  # used again
    m.run(ids(300, 16))
    assert [cached(m, ids(start, 17)) for start in (0, 100, 200, 300)] == [16, 0, 16, 16]


def test_the_tail_of_a_prefix_goes_first_and_no_more_than_needed() -> None:
    m = machine(8)
    m.run(ids(0, 32))
    m.run(ids(100, 12))
    assert cached(m, ids(0, 33)) == 20
    removed = [event for event in m.events if isinstance(event, BlockRemoved)]
    assert removed == [BlockRemoved(SPACE.key, 20, 12, (5, 6, 7))]


def test_a_split_by_a_match_refreshes_the_last_use() -> None:
    m = machine(9)
    m.run(ids(0, 16))
    m.run(ids(100, 16))
    m.run(ids(0, 8))  # cuts the first edge: its upper half has just been used
    m.run(ids(200, 20))
    assert cached(m, ids(0, 17)) == 8
    assert cached(m, ids(100, 17)) == 8


def test_a_middle_block_never_goes_before_its_descendants() -> None:
    m = machine(12)
    m.run(ids(0, 16))
    for branch in range(4):
        m.run([*ids(0, 16), *ids(100 * branch + 100, 8)])
    for step in range(10):
        m.run(ids(1000 + 100 * step, 12))
        for node in m.nodes():  # blocks below hang on blocks above, all the way
            if node.backed > node.start:
                assert node.parent is not None
                assert node.parent.backed == node.parent.end


def test_what_is_held_is_never_evicted() -> None:
    m = machine(8)
    request = m.must_start(ids(0, 16))
    m.complete()
    for step in range(5):
        m.run(ids(100 * step + 100, 16))
    m.complete()
    m.check_readable(request, 16)
    assert cached(m, ids(0, 17)) == 16
    m.drain()


def test_one_off_prompts_push_out_each_other_not_what_is_used_between_them() -> None:
    m = machine(16)
    system = ids(0, 16)
    m.run(system)
    for step in range(20):
        m.run(ids(1000 + 100 * step, 24))
        assert m.run([*system, 500 + step]).cached == 16


def test_a_stub_that_another_one_continues_goes() -> None:
    m = machine(16)
    m.run([1, 2, 3, 4, 5])
    long, short = m.must_start([1, 2, 3, 4, 5, 6, 7]), m.must_start([1, 2, 3, 4, 5, 6])
    m.complete()
    m.finish(short)
    m.finish(long)
    m.check()
    assert cached(m, [1, 2, 3, 4, 5, 6, 7, 8]) == 7
    assert m.cache.usage().evictable_blocks == 2  # the shorter stubs could never again be the longest hit


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_open_ends_side_by_side_the_longer_stays(order: tuple[int, int]) -> None:
    m = machine(16)
    requests = m.must_start(ids(0, 9)), m.must_start(ids(0, 11))  # the second copies from the begun block of the first
    m.complete()
    for number in order:
        m.finish(requests[number])
        m.check()
    assert cached(m, ids(0, 12)) == 11
    assert m.cache.usage().evictable_blocks == 3


def test_a_stub_that_would_add_nothing_does_not_enter() -> None:
    m = machine(16)
    first, second = m.must_start([1, 2, 3, 4, 5, 6, 7]), m.must_start([1, 2, 3, 4, 5])
    m.complete()
    m.finish(first)
    m.finish(second)
    m.check()
    assert m.cache.usage().evictable_blocks == 2


def test_stubs_leave_no_ghosts() -> None:
    m = machine(4)
    m.run([1, 2])
    m.run(ids(100, 16))
    assert match(m, [1, 2, 3]) == (0, 0, 0)
    assert m.cache.usage().evicted_tokens == 2
    assert m.cache.usage().ghost_tokens == 0


def test_a_reset_is_no_eviction() -> None:
    m = machine(4)
    m.run(ids(0, 16))
    m.cache.reset()
    m.run(ids(0, 16))
    assert m.cache.usage().evicted_tokens == 0


def test_protected_lru_evicts_the_newest_while_all_are_young() -> None:
    m = machine(12, "protected-lru")
    for start in (0, 100, 200):
        m.run(ids(start, 16))
    m.run(ids(300, 16))
    assert [cached(m, ids(start, 17)) for start in (0, 100, 200, 300)] == [16, 16, 0, 16]
    m.now += 60
    m.run(ids(400, 16))
    assert [cached(m, ids(start, 17)) for start in (0, 100, 300, 400)] == [0, 16, 16, 16]


def talks(policy: str) -> int:
    """Cached tokens of conversations that go on once a minute, and four times as many prompts that nobody goes on from."""
    cache = PrefixCache(CacheConfig(num_blocks=60, block_size=4, eviction_policy=policy))
    conversations, found, now = [ids(10_000 * number, 8) for number in range(6)], 0, 0.0
    for turn in range(40):
        for number, conversation in enumerate(conversations):
            for other in range(4):
                now += 2.5
                process(cache, SPACE, pack_tokens(ids(10**6 + 1000 * (24 * turn + 4 * number + other), 20)), now)
            if len(conversation) > 40:
                conversation[:] = ids(10**5 * turn + 10_000 * number, 8)
            ledger = process(cache, SPACE, pack_tokens(conversation), now)
            found += 0 if ledger is None else ledger.account().cached
            conversation += ids(5000 + conversation[-1], 4)
    return found


def test_what_is_learned_keeps_conversations_where_lru_keeps_what_came_last() -> None:
    assert talks("learned") > 3 * talks("lru")


def test_before_anything_is_known_the_oldest_is_worth_least() -> None:
    policy = LearnedReuse()
    worths = [policy.worth(0, idle) for idle in (0, 1, 3, 10, 100, 1000, 10_000, 1e9)]
    assert worths == sorted(worths, reverse=True)
    assert worths == [policy.worth(7, idle) for idle in (0, 1, 3, 10, 100, 1000, 10_000, 1e9)]


def test_what_comes_back_after_a_while_is_worth_most_just_before() -> None:
    policy = LearnedReuse()
    node = leaf(0)
    node.end, node.uses = 512, 1
    node.group = policy.used(node, None)
    for _ in range(2000):
        assert policy.used(node, 60.0) == node.group
    assert policy.worth(node.group, 50) > 3 * policy.worth(node.group, 0)
    assert policy.worth(node.group, 200) < policy.worth(node.group, 0)


def test_no_age_is_worth_more_than_its_chance_where_nearly_nothing_comes_to_it() -> None:
    policy, node = LearnedReuse(), leaf(0)
    node.end, node.uses = 512_000, 1
    for idle in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0):
        for _ in range(500):
            node.group = policy.used(node, idle)
            policy.left_behind(node)
    worths = [policy.worth(node.group, idle) for idle in (0, 1, 10, 100, 1000, 10_000, 1e9)]
    assert all(0 <= worth < 10 for worth in worths)


def test_answers_that_nobody_sends_back_are_worth_less_than_prompts() -> None:
    policy, prompt, answer = LearnedReuse(), leaf(0), leaf(0)
    prompt.end = answer.end = 512
    prompt.uses = answer.uses = 1
    answer.answer = True
    for _ in range(1000):
        gone, prompt.group = policy.used(answer, None), policy.used(prompt, None)
        policy.used(prompt, 20.0)
    assert policy.worth(gone, 10) < policy.worth(prompt.group, 10) / 10


def test_what_is_left_behind_says_nothing_of_what_goes_on() -> None:
    honest, misled = LearnedReuse(), LearnedReuse()
    for policy in (misled, honest):
        node, rest = leaf(0), leaf(0)
        node.end, rest.end = 512, 1024
        node.uses = rest.uses = 1
        for _ in range(1000):
            node.group, rest.group = policy.used(node, None), policy.used(rest, None)
            assert node.group == rest.group
            if policy is honest:
                rest.group = policy.left_behind(rest)
            policy.used(node, 20.0)
    assert honest.worth(node.group, 10) > 2 * misled.worth(node.group, 10)
    assert honest.worth(rest.group, 10) < honest.worth(node.group, 10) / 10


class Noted(LRU):
    """LRU that notes from which position on something was left behind."""

    learns = True

    def __init__(self) -> None:
        self.left: list[int] = []

    def left_behind(self, node: Node) -> int:
        self.left.append(node.start)
        return 1


def test_a_conversation_leaves_behind_what_only_its_last_turn_had() -> None:
    policy = Noted()
    cache = PrefixCache(CacheConfig(num_blocks=100, block_size=4), policy)

    def ask(prompt: list[int], answer: tuple[int, ...] = ()) -> list[int]:
        policy.left.clear()
        process(cache, SPACE, pack_tokens(prompt), 1.0, generated=pack_tokens(answer))
        cache.check_integrity()
        return policy.left

    first = ids(0, 18)  # ends in a begun block
    assert ask(first, tuple(ids(900, 6))) == []
    assert ask([*ids(0, 16), *ids(100, 8)]) == [16], "the begun block, with its answer"
    assert ask([*ids(0, 16), *ids(200, 8)]) == [], "two have gone on from here: it is a prefix that many share"
    assert ask([*ids(0, 16), *ids(200, 8), *ids(300, 8)]) == [], "all of the last turn goes on"
    assert ask([*ids(0, 8), *ids(400, 8)]) == [], "what is behind is not a single line"
    assert ask(ids(2000, 24)) == []
    assert ask(ids(3000, 8)) == [], "at the root nothing goes on"
    assert ask(ids(2000, 14)) == [], "a beginning of it, asked by itself, goes on from nothing"


@pytest.mark.parametrize("policy", [LRU(), ProtectedLRU(), LearnedReuse()])
def test_the_queue_forgets_stale_entries(policy: EvictionPolicy) -> None:
    queue = EvictionQueue(policy)
    nodes = [leaf(number) for number in range(10)]
    for _ in range(1000):
        for node in nodes:
            queue.push(node)
        queue.compact(10)
    assert max(queue.lengths()) <= queue.stale_limit(10) + 1024
    assert queue.nodes() == set(nodes)
    for node in nodes:
        assert queue.first(1e9) is node
        node.holders = 1
    assert queue.first(1e9) is None


def test_the_queue_sorts_what_does_not_come_in_order() -> None:
    rng = random.Random(1)
    for _ in range(100):
        queue = EvictionQueue(LRU())
        nodes = [leaf(rng.randrange(20)) for _ in range(30)]
        for node in nodes:
            queue.push(node)
        for node in rng.sample(nodes, 10):  # used again
            node.last_use = 20.0
            queue.push(node)
        order = []
        while (first := queue.first(100)) is not None:
            assert queue.first(100) is first  # as long as it has blocks
            order.append((first.last_use, first.ticket))
            first.backed = 0
        assert order == sorted(order)
        assert len(order) == 30


def test_the_queue_passes_over_what_has_become_unevictable() -> None:
    queue = EvictionQueue(ProtectedLRU(young_seconds=5))
    nodes = [leaf(number) for number in range(4)]
    for node in nodes:
        queue.push(node)
    nodes[0].holders = 1
    nodes[3].resident.append(b"child")
    assert queue.nodes() == {nodes[1], nodes[2]}
    assert queue.first(3) is nodes[2]  # all young: the newest
    nodes[2].backed = 0
    assert queue.first(100) is nodes[1]
    nodes[1].backed = 0
    assert queue.first(100) is None
