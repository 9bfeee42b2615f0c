"""Streams survive the replicas that answer them: the same tokens, text, log-probabilities and ends, whatever dies when."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from cluster.small_fleet import SmallFleet, answer, small_fleet
from engine.making import Made
from engine.test_resume import LOADS, joined, request
from foreword import SamplingParams
from foreword.engine import Engine, EngineRequest
from foreword.engine.runner import Sampled, Step
from foreword.outputs import Delta

GREEDY = SamplingParams(temperature=0, max_tokens=14, ignore_eos=True)


class Pause:
    """Engines that answer the request "disturbed" with ``tokens`` tokens, and with more when they are let go on."""

    def __init__(self, tokens: int = 3):
        self.tokens = tokens
        self.go_on = threading.Event()

    def within(self, made: Made) -> Engine:
        def hook(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
            answered = [each.end - each.num_prompt_tokens for each in step.chunks if each.request_id == "disturbed"]
            if answered and max(answered) >= self.tokens:
                assert self.go_on.wait(60)
            return run(step)

        made.runner.hook = hook
        return made.engine


async def disturbed(
    fleet: SmallFleet, asked: EngineRequest, pause: Pause, disturb: Callable[[str], Awaitable[object]]
) -> list[Delta]:
    """A request whose replica is disturbed when it has told what comes before the pause."""

    async def each(told: list[Delta]) -> None:
        tokens = sum(len(choice.token_ids) for delta in told for choice in delta.choices)
        if tokens >= pause.tokens and not pause.go_on.is_set():
            await disturb(fleet.fleet.placements[str(asked.request_id)].replica)
            pause.go_on.set()

    return await answer(fleet.fleet, asked, each)


@pytest.mark.parametrize("load", LOADS)
def test_a_stream_survives_its_replica(make_engine: Callable[..., Made], load: str) -> None:
    params = SamplingParams(**{"max_tokens": 14, "ignore_eos": load != "a form", **LOADS[load]})
    asked = replace(request(make_engine().engine, params), request_id="disturbed")

    pause = Pause()

    async def run() -> tuple[list[Delta], list[Delta]]:
        async with small_fleet(lambda: pause.within(make_engine(draft="off")), "a", "b") as fleet:
            undisturbed = await answer(fleet.fleet, replace(asked, request_id=None))
            told = await disturbed(fleet, asked, pause, fleet.cut)
            assert fleet.fleet.counts.resumed == 1
            return undisturbed, told

    undisturbed, told = asyncio.run(run())
    for index in range(params.n):
        assert joined(told, index) == joined(undisturbed, index)
    assert {delta.request_id for delta in told} == {"disturbed"}
    assert told[-1].account.prompt_tokens == told[-1].account.processed


def test_drafted_tokens_survive_too(make_engine: Callable[..., Made]) -> None:
    asked = replace(request(make_engine().engine, GREEDY), request_id="disturbed")

    pause = Pause(tokens=1)

    async def run() -> None:
        async with small_fleet(lambda: pause.within(make_engine()), "a", "b") as fleet:
            undisturbed = await answer(fleet.fleet, replace(asked, request_id=None))
            told = await disturbed(fleet, asked, pause, fleet.cut)  # the rest is drafted from what was answered before
            assert joined(told, 0) == joined(undisturbed, 0)

    asyncio.run(run())


def test_an_engine_that_dies_is_a_replica_lost(make_engine: Callable[..., Made]) -> None:
    made: list[Made] = []
    pause = Pause()

    def engine() -> Engine:
        made.append(make_engine(draft="off"))
        return pause.within(made[-1])

    asked = replace(request(make_engine().engine, GREEDY), request_id="disturbed")

    async def run() -> None:
        async with small_fleet(engine, "a", "b") as fleet:
            undisturbed = await answer(fleet.fleet, replace(asked, request_id=None))

            async def kill(name: str) -> None:
                def interrupt(*_: object) -> list[Sampled]:
                    raise SystemExit("planted")

                made["ab".index(name)].runner.hook = interrupt

            told = await disturbed(fleet, asked, pause, kill)
            assert joined(told, 0) == joined(undisturbed, 0)
            assert len(fleet.fleet.replicas) == 1

    asyncio.run(run())


def test_one_that_falls_silent_is_left_and_comes_back(make_engine: Callable[..., Made]) -> None:
    asked = replace(request(make_engine().engine, GREEDY), request_id="disturbed")

    pause = Pause()

    async def run() -> None:
        async with small_fleet(lambda: pause.within(make_engine(draft="off")), "a", "b", silence_seconds=0.6) as fleet:
            undisturbed = await answer(fleet.fleet, replace(asked, request_id=None))
            held: list[str] = []

            async def hold(name: str) -> None:
                held.append(name)
                fleet.hold(name)

            told = await disturbed(fleet, asked, pause, hold)
            assert joined(told, 0) == joined(undisturbed, 0)
            await fleet.have_joined(*({"a", "b"} - set(held)))
            fleet.let_go(held[0])
            await fleet.have_joined("a", "b")
            assert joined(await answer(fleet.fleet, replace(asked, request_id=None)), 0) == joined(undisturbed, 0)

    asyncio.run(run())
