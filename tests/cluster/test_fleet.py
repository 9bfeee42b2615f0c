"""A fleet without enough replicas, with wrong ones, and with a request that takes them down."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cluster.small_fleet import answer, small_fleet
from engine.test_resume import joined
from foreword import SamplingParams
from foreword.account import Account, Source
from foreword.cache import CacheConfig, ModelFingerprint
from foreword.cluster.config import FleetConfig
from foreword.cluster.failover import Tell
from foreword.cluster.fleet import NO_USAGE, Fleet
from foreword.cluster.messages import Placing, Progressed, Reserved, Welcome
from foreword.engine import Engine, EngineInfo, EngineRequest
from foreword.engine.info import EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.runner import Step
from foreword.engine.stream import RequestEnd
from foreword.errors import ConfigError, StepFailed, Unavailable
from foreword.outputs import ChoiceDelta, Delta, RequestMetrics
from foreword.replay.simulated import NoWords
from foreword.serving.fleet_view import Placed
from foreword.serving.metrics import TokenGaps
from foreword.testing import FakeRunner, fake_engine
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
    passed: list[Placing] = field(default_factory=list)
    cancelled: int = 0
    snapshots: int = 0
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
        self.snapshots += 1

    def pass_on(self, placing: Placing) -> None:
        self.passed.append(placing)

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


@pytest.mark.parametrize(
    ("had", "loads", "shared", "words"),
    [
        (96, 0, False, "had 96 tokens of it"),
        (0, 96, True, "loads 96 tokens of it from the shared store"),
        (32, 64, True, "had 32 tokens of it and loads 64 more from the shared store"),
        (0, 96, False, "loads 96 tokens of it from its own store"),
    ],
)
def test_it_is_said_what_a_replica_had_and_what_it_loads(had: int, loads: int, shared: bool, words: str) -> None:
    place = Placed("two", "prefix", had + loads, loads, shared, 96, "two", 0.0, 0.0)
    assert place.words == f"Sent to two, which {words}."
    missed = replace(place, holder="one", available_tokens=960, holder_queue_seconds=14.04)
    held = "A routing miss: 960 tokens were held by one, which had 14.0 s of work queued; sent to two, which"
    assert missed.words == f"{held} {words}."


def test_a_crowd_with_one_cold_prompt_computes_it_once() -> None:
    async def test() -> None:

        async with small_fleet(fake_engine, "a", "b", "c") as small:
            asked = [replace(ASKED, request_id=f"number {number}") for number in range(16)]
            told = await asyncio.gather(*(answer(small.fleet, each) for each in asked))
            computed = sum(deltas[-1].account.computed for deltas in told)
            copies = sum(replica.placed > 0 for replica in small.fleet.fleet_state().replicas)
            assert copies <= 2
            assert computed == copies * 20 + (16 - copies)  # where it goes once, and of each other request the last token
            assert {joined(deltas, 0)[0] for deltas in told} == {(20, 21, 22, 23)}

    run(test)


def test_one_that_is_to_end_gets_no_more_and_is_missed_by_nobody() -> None:
    async def test() -> None:
        one, two = FakeReplica("one"), FakeReplica("two")
        made = fleet(one)
        stream = made.submit(ASKED, lambda _: None)
        one.say(65)
        made.join(two)
        made.leave(one)
        made.submit(replace(ASKED, request_id="later"), lambda _: None)
        assert (len(one.asked), len(two.asked)) == (1, 1)  # though the other one has its prefix
        one.say(66, 67, 68, last=True)
        assert (await stream.next()).choices[0].text == "ABCD"
        made.lose(one, "it has ended")
        assert made.fleet_state().resumed == 0
        made.leave(two)
        with pytest.raises(Unavailable, match="No replica is ready"):
            made.submit(replace(ASKED, request_id="too late"), lambda _: None)
        made.lose(two, "it was killed")
        made.join(FakeReplica("three"))
        state = made.fleet_state()
        assert (state.left, state.lost, state.losses, state.resumed) == (2, 0, (), 1)

    run(test)


def test_what_is_placed_is_told_to_other_ingresses() -> None:
    async def test() -> None:
        one = FakeReplica("one")
        made, other = fleet(one), fleet(FakeReplica("one"))
        stream = made.submit(ASKED, lambda _: None)
        one.say(65)
        assert [type(each) for each in one.passed] == [Reserved, Progressed]
        peer = other.replicas["one"]
        other.heard(peer, "0", one.passed[:1])
        assert other.fleet_state().replicas[0].waiting == 1
        other.heard(peer, "0", one.passed[1:])
        assert other.fleet_state().replicas[0].running == 1
        stream.close()
        other.heard(peer, "0", one.passed[2:])
        assert other.fleet_state().replicas[0].running == 0

    run(test)


def waiting_engine(go_on: threading.Event, seconds: float = 60.0) -> Engine:
    """One that waits so long before each step, or until it may go on, so that it is still at it when others look."""

    def wait(_: Step) -> float:
        go_on.wait(seconds)
        return 0.0

    cache = CacheConfig(num_blocks=64, block_size=4)
    return fake_engine(cache, runner=FakeRunner(cache, step_seconds=wait))


async def open_requests(fleet: Fleet, count: int) -> None:
    """Wait until a fleet's router knows of so many."""
    async with asyncio.timeout(20):
        while sum(each.waiting + each.running for each in fleet.fleet_state().replicas) != count:
            await asyncio.sleep(0.005)


def test_ingresses_hear_of_each_other_whenever_they_come_and_go() -> None:
    go_on = threading.Event()

    def engine() -> Engine:
        return waiting_engine(go_on, seconds=0.1)

    async def test() -> None:
        asked = replace(ASKED, params=SamplingParams(max_tokens=200))
        async with small_fleet(engine, "a", "b", "c") as small, small.another_ingress() as other:
            first = small.fleet.submit(replace(asked, request_id="first"), lambda _: None)
            await open_requests(other, 1)
            other.submit(replace(asked, request_id="second"), lambda _: None)
            assert other.placements["second"].replica == small.fleet.placements["first"].replica
            async with small.another_ingress() as late:
                await open_requests(late, 2)
                late.submit(replace(asked, request_id="third"), lambda _: None)
                await open_requests(other, 3)
            await open_requests(other, 2)  # an ingress has gone, and what it had asked for
            first.close()
            await open_requests(other, 1)
            go_on.set()

    run(test)


def test_a_replica_that_is_to_end_goes_on_with_what_it_has() -> None:
    go_on = threading.Event()

    async def test() -> None:
        async with small_fleet(lambda: waiting_engine(go_on), "a", "b") as small:
            answering = asyncio.create_task(answer(small.fleet, replace(ASKED, request_id="first")))
            await open_requests(small.fleet, 1)
            holder = small.fleet.placements["first"].replica
            leaving = asyncio.create_task(small.members[holder].server.leave(20.0))
            async with asyncio.timeout(20):
                while not small.fleet.fleet_state().replicas[0].leaving ^ small.fleet.fleet_state().replicas[1].leaving:
                    await asyncio.sleep(0.005)
            go_on.set()
            later = await answer(small.fleet, replace(ASKED, request_id="later"))
            assert small.fleet.placements["later"].replica != holder
            assert joined(await answering, 0) == joined(later, 0)
            await leaving
            assert small.fleet.counts.resumed == 0

    run(test)
