"""The loops of a cache alone and of an engine: every token has one source, and where nothing runs together they agree."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreword.account import Source
from foreword.cache import CacheConfig
from foreword.replay import EngineReplay, ReplayResult, TraceRequest, costs_from_rates, read_trace, replay_cache
from foreword.sched import SchedulerConfig
from foreword.testing.synthetic_trace import trace_stream

COSTS = costs_from_rates(prefill_rate=1000, decode_milliseconds=10)
SMALL = CacheConfig(num_blocks=400, block_size=16, ghost_ratio=0.0)


def trace(count: int = 60, scale: int = 1, **options: float) -> Iterator[TraceRequest]:
    for request in read_trace(trace_stream(count, **options), 512).requests:
        yield request if scale == 1 else replace(request, block_tokens=request.block_tokens // scale)


def one_at_a_time(cache: CacheConfig) -> EngineReplay:
    """In the order of arrival, the next one when the last one has ended."""
    config = SchedulerConfig(max_num_seqs=1, max_num_batched_tokens=4096, lookahead=1)
    return EngineReplay(cache, config, COSTS, scale=16, speed=1e-6)


def small_request(number: int, keys: list[int], prompt: int, output: int) -> TraceRequest:
    return TraceRequest(float(number), prompt, output, np.array(keys, np.uint64), 4, number=number)


SMALL_TRACES = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(0, 24), st.integers(0, 9)), max_size=30
)


@settings(max_examples=60)
@given(SMALL_TRACES, st.integers(4, 40), st.sampled_from([1, 4]), st.sampled_from(["lru", "protected-lru"]))
def test_every_token_has_one_source_and_one_at_a_time_the_loops_agree(
    drawn: list[tuple[list[int], int, int]], blocks: int, size: int, policy: str
) -> None:
    requests = [small_request(number, *each) for number, each in enumerate(drawn)]
    cache = CacheConfig(num_blocks=blocks, block_size=size, eviction_policy=policy)
    alone = replay_cache(requests, cache, COSTS)
    config = SchedulerConfig(max_num_seqs=1, max_num_batched_tokens=64, lookahead=1)
    engine = EngineReplay(cache, config, COSTS, speed=1e-6)
    together = EngineReplay(cache, SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=8), COSTS).run(requests)
    for result in (alone, engine.run(requests), together):
        assert result.requests + result.refused == len(requests)
        assert sum(result.by_source.values()) == result.prompt_tokens
    assert together.prompt_tokens == sum(each.prompt_tokens for each in requests if fits(each, cache))
    engine.engine.check_integrity()


def fits(request: TraceRequest, cache: CacheConfig) -> bool:
    """Whether the cache can hold the prompt, and all of the answer but its last token."""
    longest = request.prompt_tokens + max(1, request.output_tokens) - 1
    return request.prompt_tokens > 0 and -(-longest // cache.block_size) <= cache.num_blocks


@pytest.mark.parametrize("blocks", [200, 400, 4000])
def test_one_at_a_time_the_engine_hits_as_the_cache_alone(blocks: int) -> None:
    cache = replace(SMALL, num_blocks=blocks)
    alone = replay_cache(trace(), cache, COSTS, 4096, scale=16)
    engine = one_at_a_time(cache).run(trace())
    assert (engine.by_source, engine.evicted_tokens) == (
        {**alone.by_source, Source.SHARED_IN_FLIGHT: 0},
        alone.evicted_tokens,
    )
    assert (engine.requests, engine.prompt_tokens, engine.output_tokens) == (
        alone.requests, alone.prompt_tokens, alone.output_tokens,
    )  # fmt: skip
    assert engine.ttft.p50 == pytest.approx(alone.ttft.p50, rel=0.02)
    assert engine.ttft.p99 == pytest.approx(alone.ttft.p99, rel=0.02)


def test_the_same_trace_twice_gives_the_same_figures() -> None:
    def run() -> ReplayResult:
        return EngineReplay(SMALL, SchedulerConfig(max_num_seqs=4), COSTS, scale=16).run(trace(200))

    assert run() == run()


def test_what_runs_together_is_shared_in_flight() -> None:
    requests = [small_request(0, [1, 2, 3], 12, 2) for _ in range(3)]
    result = EngineReplay(CacheConfig(num_blocks=64, block_size=4), SchedulerConfig(), COSTS).run(requests)
    brought = {source: tokens for source, tokens in result.by_source.items() if tokens}
    assert brought == {Source.COMPUTED: 12 + 2, Source.SHARED_IN_FLIGHT: 22}


def test_time_to_first_token_counts_from_the_arrival_and_waits_for_others() -> None:
    """Two prompts of 100 tokens at 1,000 a second and 10 ms a step, one at a time; each answer takes five tokens."""
    requests = [TraceRequest(0.0, 100, 5, np.array([], np.uint64), 4, number=number) for number in range(2)]
    config = SchedulerConfig(max_num_seqs=1, max_num_batched_tokens=1000)
    result = EngineReplay(CacheConfig(num_blocks=100, block_size=4), config, COSTS).run(requests)
    first, whole = 0.11, 0.11 + 4 * 0.01
    assert result.ttft.p50 == pytest.approx(first, rel=0.005)
    assert result.ttft.p99 == pytest.approx(whole + first, rel=0.005)
    assert result.seconds == pytest.approx(2 * whole)
    assert result.busy_seconds == pytest.approx(2 * whole)


def test_idle_time_is_not_busy() -> None:
    requests = [TraceRequest(start, 100, 1, np.array([], np.uint64), 4, number=int(start)) for start in (0.0, 10.0)]
    result = EngineReplay(CacheConfig(num_blocks=100, block_size=4), SchedulerConfig(), COSTS).run(requests)
    assert result.seconds == pytest.approx(10.11)
    assert result.busy_seconds == pytest.approx(0.22)
    halved = EngineReplay(CacheConfig(num_blocks=100, block_size=4), SchedulerConfig(), COSTS, speed=0.5).run(requests)
    assert halved.seconds == pytest.approx(20.11)


def test_what_never_fits_is_refused_and_counted() -> None:
    requests = [small_request(0, [1], 4, 1), small_request(1, [2] * 9, 36, 1), small_request(2, [], 0, 1)]
    cache = CacheConfig(num_blocks=4, block_size=4)
    for result in (replay_cache(requests, cache), EngineReplay(cache, SchedulerConfig()).run(requests)):
        assert (result.requests, result.refused, result.prompt_tokens) == (1, 2, 4)


def test_scopes_do_not_share_and_without_the_cache_nothing_is_read() -> None:
    one = small_request(0, [1, 2, 3], 12, 1)
    requests = [replace(one, scope="a"), replace(one, scope="b"), replace(one, uses_cache=False), replace(one, scope="a")]
    requests = [replace(each, arrival=10.0 * place) for place, each in enumerate(requests)]
    cache = CacheConfig(num_blocks=64, block_size=4)
    for result in (replay_cache(requests, cache), EngineReplay(cache, SchedulerConfig(), COSTS).run(requests)):
        assert result.by_source[Source.CACHED] == 11
        assert result.by_source[Source.COMPUTED] == 37


def peak(requests: Iterator[TraceRequest], use: Callable[[Iterator[TraceRequest]], object]) -> int:
    """The most bytes that were held while requests were made and used."""
    tracemalloc.start()
    use(requests)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("loop", ["cache", "engine"])
def test_memory_does_not_grow_with_the_trace(loop: str) -> None:
    """Even when requests come much faster than they are answered: what waits, waits in the trace."""

    def requests(count: int) -> Iterator[TraceRequest]:
        """Read in parts: what a reader holds is the next test's."""
        for part in range(0, count, 50):
            for place, request in enumerate(trace(50, gap_ms=0.01, seed=part)):
                yield replace(request, arrival=(part + place) * 1e-5, number=part + place)
            gc.collect()

    def use(requests: Iterator[TraceRequest]) -> object:
        if loop == "cache":
            return replay_cache(requests, SMALL, COSTS, scale=16)
        return EngineReplay(SMALL, SchedulerConfig(max_num_seqs=8, lookahead=16), COSTS, scale=16).run(requests)

    peak(requests(50), use)  # what is made once
    assert peak(requests(800), use) < 1.15 * peak(requests(400), use)


def test_what_a_reader_holds_does_not_grow_with_the_trace() -> None:
    def use(requests: Iterator[TraceRequest]) -> object:
        return sum(1 for _ in requests)

    within = peak(trace(4_500, gap_ms=0.01), use)
    assert peak(trace(7_000, gap_ms=0.01), use) < 1.1 * within
