"""The scheduler's choices, with exact order and counts. The 'model' is one line: the next token is the count so far."""

from itertools import count

import numpy as np
import pytest

from foreword.cache import CacheConfig, ModelFingerprint, Namespace, PrefixCache, pack_tokens
from foreword.errors import ConfigError, PromptError
from foreword.replay import run_step
from foreword.sched import Request, RequestState, Scheduler, SchedulerConfig, StepPlan

SPACE = Namespace(ModelFingerprint(weights="tiny"))


class Bench:
    """A scheduler with a clock that the test moves."""

    def __init__(self, blocks: int = 64, block_size: int = 4, **options: float):
        self.cache = PrefixCache(CacheConfig(num_blocks=blocks, block_size=block_size))
        options = {"max_num_seqs": 8, "max_num_batched_tokens": 16, **options}
        self.scheduler = Scheduler(SchedulerConfig(**options), self.cache)  # type: ignore[arg-type]
        self.now = 0.0
        self._ids = count()

    def add(self, tokens: list[int], max_tokens: int = 4, use_cache: bool = True) -> Request:
        request = Request(
            f"r{next(self._ids)}",
            pack_tokens(tokens),
            SPACE,
            len(tokens) + max_tokens,
            self.now,
            use_cache,
        )
        self.scheduler.add(request)
        return request

    def step(self) -> StepPlan:
        plan, ended = run_step(self.scheduler, self.now, lambda request: 1000 + request.num_tokens)
        for request in ended:
            self.scheduler.finish(request, self.now)
        self.cache.check_integrity()
        self.now += 0.01
        return plan

    def drain(self, limit: int = 500) -> None:
        for _ in range(limit):
            if not (self.scheduler.waiting or self.scheduler.running):
                return
            self.step()
        raise AssertionError("requests left over")


def shape(plan: StepPlan) -> list[tuple[str, int, int, bool]]:
    return [(chunk.request.request_id, chunk.start, chunk.end, chunk.samples) for chunk in plan.chunks]


def test_a_long_prompt_is_computed_in_chunks_and_samples_once() -> None:
    bench = Bench()
    bench.add(list(range(40)), max_tokens=1)
    assert shape(bench.step()) == [("r0", 0, 16, False)]
    assert shape(bench.step()) == [("r0", 16, 32, False)]
    assert shape(bench.step()) == [("r0", 32, 40, True)]
    assert not bench.scheduler.running


def test_generating_requests_come_before_prompts() -> None:
    bench = Bench()
    bench.add([1, 2, 3])
    bench.step()
    bench.add(list(range(100, 130)))
    assert shape(bench.step()) == [("r0", 3, 4, True), ("r1", 0, 15, False)]
    assert bench.step().num_tokens == 16


def test_everyone_gets_a_token_in_each_step_of_a_very_long_prompt() -> None:
    """64 requests generate when a prompt of 16k tokens comes: it gets what they leave of each step, and no more."""
    bench = Bench(blocks=2048, block_size=16, max_num_seqs=65, max_num_batched_tokens=512)
    short = [bench.add([1000 + n, 7], max_tokens=60) for n in range(64)]
    bench.step()
    long = bench.add(list(range(16_384)), max_tokens=2)
    for number in range(37):
        plan = bench.step()
        last = number == 36
        expected = (long.request_id, number * 448, 16_384 if last else (number + 1) * 448, last)
        assert shape(plan)[-1] == expected
        assert len(plan.chunks) == 65
        assert {chunk.request for chunk in plan.chunks[:-1]} == set(short)
        assert all(chunk.samples for chunk in plan.chunks[:-1])
    bench.drain()


def test_shorter_prompts_share_the_steps_of_a_very_long_one() -> None:
    bench = Bench()
    bench.add(list(range(60)), max_tokens=1)
    assert shape(bench.step()) == [("r0", 0, 16, False)]
    bench.add([100, 101, 102], max_tokens=1)
    bench.add(list(range(200, 210)), max_tokens=1)
    assert shape(bench.step()) == [("r1", 0, 3, True), ("r2", 0, 5, False), ("r0", 16, 24, False)]
    assert shape(bench.step()) == [("r2", 5, 10, True), ("r0", 24, 35, False)]
    assert shape(bench.step()) == [("r0", 35, 51, False)]
    assert shape(bench.step()) == [("r0", 51, 60, True)]


def test_a_prompt_that_is_no_shorter_waits_for_the_one_before_it() -> None:
    """Side by side both would be late."""
    bench = Bench(max_wait_seconds=0.005)
    bench.add(list(range(40)), max_tokens=1)
    bench.step()
    bench.add(list(range(100, 130)), max_tokens=1)
    assert shape(bench.step()) == [("r0", 16, 32, False)]
    assert shape(bench.step()) == [("r0", 32, 40, True), ("r1", 0, 8, False)]


def test_what_is_cached_of_a_prompt_does_not_make_it_long() -> None:
    bench = Bench()
    bench.add(list(range(100, 140)), max_tokens=1)
    bench.drain()
    bench.add(list(range(50)), max_tokens=1)
    bench.step()
    bench.add([*range(100, 140), 7], max_tokens=1)
    assert shape(bench.step()) == [("r2", 40, 41, True), ("r1", 16, 31, False)]


def test_a_very_long_prompt_takes_at_most_twice_as_long_among_short_ones() -> None:
    bench = Bench()
    long = bench.add(list(range(160)), max_tokens=1)
    steps = 0
    while long.state is not RequestState.FINISHED:
        bench.add(list(range(1000 + 20 * steps, 1015 + 20 * steps)), max_tokens=1)
        bench.step()
        steps += 1
    assert steps <= 2 * 10 + 1


def test_identical_prompts_that_arrive_together_compute_once() -> None:
    bench = Bench(max_num_batched_tokens=64)
    prompt = list(range(10))
    requests = [bench.add(prompt, max_tokens=1) for _ in range(4)]
    bench.drain()
    accounts = [request.account() for request in requests]
    assert sum(account.computed for account in accounts) == 10 + 3
    assert [account.shared_in_flight for account in accounts] == [0, 9, 9, 9]


def test_the_longest_cached_prefix_goes_first() -> None:
    bench = Bench(max_num_seqs=1)
    bench.add(list(range(12)), max_tokens=1)
    bench.drain()
    bench.add([50, 51, 52], max_tokens=1)
    bench.add([*range(4), 60], max_tokens=1)
    bench.add([*range(9), 61], max_tokens=1)
    order = []
    while bench.scheduler.waiting:
        order += [chunk.request.request_id for chunk in bench.step().chunks]
    assert order == ["r3", "r2", "r1"]


def test_equal_uncached_prefixes_are_admitted_side_by_side() -> None:
    bench = Bench(max_num_seqs=2, max_num_batched_tokens=2)
    for tokens in ([7, 7, 1], [5, 5, 2], [7, 7, 3], [5, 5, 4]):
        bench.add(tokens, max_tokens=1)
    bench.step()
    assert sorted(request.request_id for request in bench.scheduler.running) in (["r1"], ["r1", "r3"])
    first = []
    while bench.scheduler.waiting or bench.scheduler.running:
        for chunk in bench.step().chunks:
            if chunk.request.request_id not in first:
                first.append(chunk.request.request_id)
    assert first == ["r1", "r3", "r0", "r2"]


def test_who_has_waited_too_long_goes_before_a_longer_prefix() -> None:
    bench = Bench(max_num_seqs=1, max_wait_seconds=1.0)
    bench.add(list(range(12)), max_tokens=1)
    bench.drain()
    stranger = bench.add([50, 51], max_tokens=1)
    bench.now += 1.5
    bench.add([*range(9), 61], max_tokens=1)
    assert shape(bench.step())[0][0] == stranger.request_id


def test_nobody_overtakes_an_old_request_for_which_there_is_no_room() -> None:
    bench = Bench(blocks=8, max_num_seqs=8, max_wait_seconds=0.5)
    bench.add(list(range(20)), max_tokens=8)  # takes 5 blocks, later 7
    bench.step()
    big = bench.add(list(range(100, 116)), max_tokens=1)  # 4 blocks: no room yet
    bench.now += 1
    small = bench.add([300], max_tokens=1)
    bench.step()
    assert big.state is RequestState.WAITING
    assert small.state is RequestState.WAITING
    bench.drain()


def test_the_last_admitted_makes_way_and_keeps_what_it_computed() -> None:
    bench = Bench(blocks=6, max_num_seqs=2)
    first = bench.add(list(range(8)), max_tokens=12)
    second = bench.add(list(range(100, 108)), max_tokens=8)
    bench.drain()
    assert first.preemptions == 0
    assert second.preemptions > 0
    assert bench.scheduler.num_preemptions == second.preemptions
    account = second.account()
    assert (account.cached, account.computed) == (0, 8)  # what came back from the cache is no hit of its prompt
    assert second.tokens[8:16].tolist() == [1000 + n for n in range(8, 16)]


def test_a_request_that_can_never_fit_is_refused_at_once() -> None:
    bench = Bench(blocks=4)
    with pytest.raises(PromptError, match=r"20 prompt tokens .* the cache has 4"):
        bench.add(list(range(20)))
    with pytest.raises(PromptError, match="max_tokens"):
        bench.add([1], max_tokens=50)
    bench.add(list(range(16)), max_tokens=1)  # the last sampled token needs no KV
    bench.drain()


def test_a_failed_step_ends_its_requests_and_keeps_nothing_of_it() -> None:
    bench = Bench()
    bench.add(list(range(30)))
    bench.step()
    plan = bench.scheduler.schedule(bench.now)
    failed = bench.scheduler.fail(plan, bench.now)
    bench.cache.check_integrity()
    assert [request.state for request in failed] == [RequestState.FINISHED]
    assert bench.cache.usage().held_blocks == 0
    again = bench.add(list(range(30)), max_tokens=1)
    bench.drain()
    assert again.account().cached == 16  # the step before is kept


def test_finishing_a_waiting_request_takes_it_out_of_the_queue() -> None:
    bench = Bench(max_num_seqs=1)
    bench.add([1, 2])
    waiting = bench.add([3, 4])
    bench.step()
    bench.scheduler.finish(waiting, bench.now)
    assert waiting.state is RequestState.FINISHED
    bench.drain()
    assert waiting.account().unprocessed == 2


def test_without_the_cache_nothing_is_shared() -> None:
    bench = Bench(max_num_batched_tokens=64)
    requests = [bench.add(list(range(10)), max_tokens=1, use_cache=False) for _ in range(3)]
    bench.drain()
    assert [request.account().computed for request in requests] == [10, 10, 10]
    assert bench.cache.usage().free_blocks == 64


@pytest.mark.parametrize("seed", range(60))
def test_every_accepted_request_is_answered(seed: int) -> None:
    """Random loads on small caches: all finish, nothing stays held, and every prompt token has one source."""
    rng = np.random.default_rng(seed)
    bench = Bench(
        blocks=int(rng.integers(6, 40)),
        block_size=int(rng.choice([1, 4, 16])),
        max_num_seqs=int(rng.integers(1, 6)),
        max_num_batched_tokens=int(rng.integers(6, 40)),
        max_wait_seconds=float(rng.choice([0.0, 0.05, 2.0])),
    )
    requests = []
    for _ in range(25):
        size = int(rng.integers(1, 30))
        try:
            requests.append(bench.add(rng.integers(0, 3, size).tolist(), max_tokens=int(rng.integers(1, 12))))
        except PromptError:
            continue
        if rng.random() < 0.5:
            bench.step()
        if rng.random() < 0.1:
            victim = requests[int(rng.integers(len(requests)))]
            bench.scheduler.finish(victim, bench.now)
    bench.drain(2000)
    assert bench.cache.usage().held_blocks == 0
    for request in requests:
        account = request.account()
        assert request.state is RequestState.FINISHED
        total = account.cached + account.shared_in_flight + account.computed + account.unprocessed
        assert total == request.num_prompt_tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
        ({"max_wait_seconds": -1.0}, "max_wait_seconds is -1"),
        ({"max_num_seqs": 8, "max_num_batched_tokens": 4}, "smaller than max_num_seqs"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SchedulerConfig(**options)  # type: ignore[arg-type]
