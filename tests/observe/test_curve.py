"""The live curve against replays through the real cache."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foreword.cache import CacheConfig, pack_tokens
from foreword.observe.curve import HitRateCurve
from foreword.observe.hashing import PrefixHasher
from foreword.replay import hit_rate
from replay.published import AGENT, CODING, CONVERSATION, needs_traces, prompts


def replayed(prompts: list[bytes], capacity: int) -> float:
    """The hit rate of a real cache of so many tokens, in blocks of one."""
    return hit_rate(prompts, CacheConfig(num_blocks=capacity, block_size=1, ghost_ratio=0.0))


def drawn(prompts: list[bytes], sizes: list[int], max_samples: int, seed: int = 0) -> list[float]:
    curve = observed(prompts, sizes, max_samples, seed)
    return [point.hit_rate for point in curve.snapshot(sizes).points]


def observed(prompts: list[bytes], sizes: list[int], max_samples: int, seed: int = 0) -> HitRateCurve:
    curve, hasher = HitRateCurve(max_samples, sizes), PrefixHasher(seed)
    for tokens in prompts:
        curve.observe(hasher(b"", tokens), len(tokens) // 4)
    return curve


def test_a_size_just_large_enough() -> None:
    """Two prompts of 32 tokens in turn: both stay from 64 tokens on, half of each with 48, none with 32."""
    prompts = [pack_tokens(range(start, start + 32)) for _ in range(50) for start in (0, 100)]
    small, middle, large = drawn(prompts, [32, 48, 68], 10_000)
    assert small == 0
    assert middle == pytest.approx(98 / 100 / 2, abs=0.03)
    assert large == pytest.approx(98 / 100 * 31 / 32, abs=0.01)


def test_the_last_token_and_a_first_prompt_are_no_hits() -> None:
    curve, hasher = HitRateCurve(), PrefixHasher()
    for _ in range(4):
        curve.observe(hasher(b"", pack_tokens(range(10))), 10)
    assert curve.snapshot([]).unlimited == pytest.approx(3 * 9 / 40)


def test_generated_tokens_take_room_and_are_hit_as_history_but_are_not_asked_for() -> None:
    curve, hasher = HitRateCurve(), PrefixHasher()
    curve.observe(hasher(b"", pack_tokens(range(30))), 10)
    assert curve.snapshot([]).prompt_tokens == 10
    curve.observe(hasher(b"", pack_tokens(range(40))), 40)
    assert curve.snapshot([]).unlimited == pytest.approx(30 / 50)


def test_namespaces_do_not_meet() -> None:
    curve, hasher = HitRateCurve(), PrefixHasher()
    for namespace in (b"a", b"b"):
        curve.observe(hasher(namespace, pack_tokens(range(10))), 10)
    assert curve.snapshot([]).unlimited == 0


def test_nothing_seen_reads_zero() -> None:
    assert HitRateCurve().snapshot([100]).points[0].hit_rate == 0


def test_what_does_not_fit_is_refused_and_pushes_nothing_out() -> None:
    """A short prompt and a long one in turn: the short one stays in a cache that is too small for the long one."""
    short, long = pack_tokens(range(32)), pack_tokens(range(100, 200))
    tiny, small, large = drawn([short, long] * 50, [40, 110, 150], 10_000)
    assert tiny == pytest.approx(49 * 31 / (50 * 132))
    assert small == pytest.approx(49 * (10 + 78) / (50 * 132), abs=0.02)  # each evicts 22 tokens of the other
    assert large == pytest.approx(49 * (31 + 99) / (50 * 132), abs=0.01)


@settings(max_examples=50)
@example([[0, 0, 1, 0, 1, 0, 0, 1, 0], [0, 0], [1, 0, 1], [0, 1, 0, 1, 0], [0, 1], [1, 0, 1, 0, 0]], 7)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=60),
    st.sampled_from([7, 16, 32, 99]),
)
def test_without_sampling_it_is_the_replay(prompts: list[list[int]], capacity: int) -> None:
    """Up to the width of a bin (a 16th of a doubling), between which the curve is drawn straight, and up to one block: a
    prompt of which all is known computes its last token again, in a block that another prefix may lose for it."""
    packed = [pack_tokens(tokens) for tokens in prompts]
    curve = observed(packed, [capacity], 10**6)
    stack = curve.stacks().get(capacity, curve.stacks()[None])
    low, high = (stack.hits(size) / (sum(map(len, packed)) / 4) for size in ((capacity - 1) / 1.1, capacity * 1.1))
    assert low - 0.001 <= replayed(packed, capacity) <= high + 0.001


def test_memory_is_bounded_however_many_prefixes_come() -> None:
    curve, hasher = HitRateCurve(max_samples=500, sizes=[10, 50]), PrefixHasher()
    for number in range(20_000):
        curve.observe(hasher(b"", pack_tokens([number, *range(number % 20 + 5)])), number % 20 + 6)
    assert set(curve.stacks()) == {None, 10}
    for stack in curve.stacks().values():
        stack.check()
        assert 400 <= stack.followed <= 500
        assert stack.room <= 2 * 1024
    assert curve.snapshot([10**9]).unlimited < 0.01


@needs_traces
@pytest.mark.parametrize("trace", ["mooncake", "agent", "coding"])
def test_within_two_points_of_exact_replays_at_eight_sizes(trace: str) -> None:
    """The smallest sizes are too small for many of the prompts: a cache refuses those."""
    if trace == "mooncake":
        packed, sizes = prompts(CONVERSATION, 64, 5000), [500 * 4**n for n in range(8)]
    elif trace == "agent":
        packed, sizes = prompts(AGENT, 4), [1000 * 2**n for n in range(8)]
    else:
        packed, sizes = prompts(CODING, 64, 3000), [500 * 2**n for n in range(8)]
    assert sizes[0] < max(map(len, packed)) / 4
    estimates = drawn(packed, sizes, 8192)
    for size, estimate in zip(sizes, estimates, strict=True):
        assert abs(replayed(packed, size) - estimate) < 0.02, size
