"""Streams survive the replicas that answer them: the same tokens, text, log-probabilities and ends, whatever dies when."""

import asyncio
from collections.abc import Callable

import pytest

from cluster.small_fleet import answer, small_fleet
from engine.making import Made
from engine.test_resume import LOADS, joined, request
from foreword import SamplingParams
from foreword.engine import Engine
from foreword.outputs import Delta


def same(made: Made) -> Callable[[], Engine]:
    return lambda: made.engine


@pytest.mark.parametrize("load", LOADS)
def test_a_stream_survives_its_replica(make_engine: Callable[..., Made], load: str) -> None:
    params = SamplingParams(**{"max_tokens": 14, "ignore_eos": load != "a form", **LOADS[load]})
    asked = request(make_engine().engine, params)

    async def run() -> tuple[list[Delta], list[Delta]]:
        async with small_fleet(lambda: make_engine().engine, "a", "b") as fleet:
            undisturbed = await answer(fleet.fleet, asked)

            async def cut(told: list[Delta]) -> None:
                if len(told) == 3:
                    (name,) = {place.replica for place in list(fleet.fleet.placements.values())[-1:]}
                    await fleet.cut(name)

            disturbed = await answer(fleet.fleet, asked, cut)
            assert fleet.fleet.counts.resumed == 1
            return undisturbed, disturbed

    undisturbed, disturbed = asyncio.run(run())
    for index in range(params.n):
        assert joined(disturbed, index) == joined(undisturbed, index)
