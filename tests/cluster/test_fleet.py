"""A fleet without enough replicas, with wrong ones, and with a request that takes them down."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cluster.small_fleet import answer, small_fleet
from engine.test_resume import joined
from foreword import SamplingParams
from foreword.account import Account, Source
from foreword.cache import ModelFingerprint
from foreword.cluster.config import FleetConfig
from foreword.cluster.failover import Tell
from foreword.cluster.fleet import NO_USAGE, Fleet
from foreword.cluster.messages import Welcome
from foreword.engine import EngineInfo, EngineRequest
from foreword.engine.info import EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.stream import RequestEnd
from foreword.errors import ConfigError, StepFailed, Unavailable
from foreword.outputs import ChoiceDelta, Delta, RequestMetrics
from foreword.replay.simulated import NoWords
from foreword.serving.metrics import TokenGaps
from foreword.testing import fake_engine
from foreword.tokens import pack_tokens

INFO = EngineInfo("fake", 1000, 1000, 64, 4, 1.0, 8, True, frozenset(), ModelFingerprint("one", block_size=4))
ASKED = EngineRequest(pack_tokens(range(20)), SamplingParams(max_tokens=4), "asked")


@dataclass
class FakeReplica:
    """Keeps what it is asked, and says what a test has it say."""

    name: str
    info: EngineInfo = INFO
    asked: list[EngineRequest] = field(default_factory=list)
    tells: list[Tell] = field(default_factory=list)
    cancelled: int = 0
    state: EngineState = field(default_factory=lambda: EngineState(0, 0, 0, NO_USAGE))

    @property
    def welcome(self) -> Welcome:
        return Welcome(self.name, "here", 1, self.info, 1000.0, None, None)

    def ask(self, request: EngineRequest, tell: Tell) -> Callable[[], None]:
        self.asked.append(request)
        self.tells.append(tell)

        def cancel() -> None:
            self.cancelled += 1

        return cancel

    def want_snapshot(self) -> None:
        """It has nothing to say."""

    def say(self, *tokens: int, last: bool = False) -> None:
        """Tokens of the request that was asked last."""
        choice = ChoiceDelta(0, "".join(map(chr, tokens)), tokens, finish_reason="length" if last else None)
        account = Account(20, {Source.COMPUTED: 20})
        self.tells[-1](Delta("any", (choice,), account, RequestMetrics(0.0, None, None, 0), last), None)


def fleet(*replicas: FakeReplica, clock: Callable[[], float] = lambda: 0.0) -> Fleet:
    made = Fleet(INFO, ModelText(NoWords()), FleetConfig(), now=clock)
    for replica in replicas:
        made.join(replica)
    return made


def run(test: Callable[[], object]) -> None:
    async def within() -> None:
        done = test()
        if asyncio.iscoroutine(done):
            await done

    asyncio.run(within())


def test_without_a_replica_a_request_is_told_when_to_come_back() -> None:
    def test() -> None:
        with pytest.raises(Unavailable, match="No replica is ready") as raised:
            fleet().submit(ASKED, lambda _: None)
        assert raised.value.retry_after == 1.0

    run(test)


def test_one_without_a_seed_is_given_the_same_seed_everywhere() -> None:
    async def test() -> None:
        one, two = FakeReplica("one"), FakeReplica("two")
        made = fleet(one)
        stream = made.submit(ASKED, lambda _: None)
        one.say(65)
        made.join(two)
        made.lose(one, "a test")
        assert one.asked[0].params.seed is not None
        assert two.asked[0].params == one.asked[0].params
        assert two.asked[0].resume is not None
        assert two.asked[0].resume.choices[0].token_ids == (65,)
        stream.close()

    run(test)


def test_what_a_lost_replica_says_later_is_not_heard() -> None:
    async def test() -> None:
        one, two, ends = FakeReplica("one"), FakeReplica("two"), list[RequestEnd]()
        made = fleet(one)
        stream = made.submit(ASKED, ends.append)
        one.say(65, 66)
        made.join(two)
        made.lose(one, "a test")
        one.say(67)
        two.say(67, 68, last=True)
        told = [await stream.next()]
        assert (told[0].choices[0].text, told[0].finished) == ("ABCD", True)
        assert told[0].account.recomputed == 20
        await asyncio.sleep(0.01)
        assert (ends[0].outcome, ends[0].output_tokens) == ("length", 4)

    run(test)


def test_it_waits_for_another_replica_as_long_as_it_may() -> None:
    async def test() -> None:
        seconds = [0.0]
        one, two = FakeReplica("one"), FakeReplica("two")
        made = fleet(one, clock=lambda: seconds[0])
        waits = made.submit(ASKED, lambda _: None)
        made.lose(one, "a test")
        seconds[0] = 59.0
        made.look_after()
        made.join(two)
        assert len(two.asked) == 1
        made.lose(two, "a test")
        seconds[0] = 120.0
        made.look_after()
        with pytest.raises(Unavailable, match="no other was ready"):
            await waits.next()

    run(test)


def test_what_takes_three_replicas_down_is_ended() -> None:
    async def test() -> None:
        replicas = [FakeReplica(str(number)) for number in range(4)]
        made = fleet(*replicas)
        stream = made.submit(ASKED, lambda _: None)
        for _ in range(3):
            made.lose(next(each for each in replicas if each.asked and each.name in made.replicas), "a test")
        with pytest.raises(StepFailed, match="3 replicas in a row"):
            await stream.next()
        assert len(made.replicas) == 1

    run(test)


@pytest.mark.parametrize("other", [{"weights": "two"}, {"kv_dtype": "int8"}, {"block_size": 8}, {"canary": "ff"}])
def test_only_equals_join(other: dict[str, Any]) -> None:
    stranger = FakeReplica("stranger", replace(INFO, fingerprint=replace(INFO.fingerprint, **other)))
    made = fleet(FakeReplica("one"))
    with pytest.raises(ConfigError, match=f"'stranger' cannot join: its {next(iter(other))}"):
        made.join(stranger)
    assert made.fleet_state().refused == 1


def test_who_leaves_early_ends_it_at_the_replica() -> None:
    async def test() -> None:
        one = FakeReplica("one")
        made = fleet(one)
        stream = made.submit(ASKED, lambda _: None)
        stream.close()
        assert one.cancelled == 1
        assert made.fleet_state().replicas[0].waiting == 0

    run(test)


def test_gaps_between_tokens_are_those_of_each_replica() -> None:
    gaps = TokenGaps()
    for now, gap in ((1.0, 0.02), (1.0, 0.03), (1.5, 0.02)):  # two replicas, side by side
        gaps.step(1, now, gap=gap)
    buckets = {sample.labels["le"]: sample.value for sample in gaps.family("m").samples if "le" in sample.labels}
    assert buckets["0.025"] == 2
    assert buckets["0.05"] == buckets["+Inf"] == 3


def test_where_a_request_went_is_remembered() -> None:
    async def test() -> None:
        made = fleet(FakeReplica("one"), FakeReplica("two"))
        made.submit(ASKED, lambda _: None)
        placed = made.placed("asked")
        assert placed is not None
        assert placed.words == f"Sent to {placed.replica}: no replica had any of its prefix."
        assert made.placed("another") is None

    run(test)


def test_a_crowd_with_one_cold_prompt_computes_it_once() -> None:
    async def test() -> None:

        async with small_fleet(fake_engine, "a", "b", "c") as small:
            asked = [replace(ASKED, request_id=f"number {number}") for number in range(16)]
            told = await asyncio.gather(*(answer(small.fleet, each) for each in asked))
            computed = sum(deltas[-1].account.computed for deltas in told)
            assert computed < 2 * 20 + 16 * 4  # once, a copy at most, and of each the block of its last token
            assert {joined(deltas, 0)[0] for deltas in told} == {(20, 21, 22, 23)}

    run(test)
