"""Clients that say whether their conversations go on."""

import numpy as np
import pytest

from foreword.cache import CacheConfig, ConversationState
from foreword.replay import EngineReplay, TraceRequest, replay_cache
from foreword.replay.costs import MEASURED
from foreword.replay.told import goes_on, told
from foreword.sched import SchedulerConfig

BLOCK = 16


def asked(number: int, *keys: int, cached: bool = True, scope: str = "") -> TraceRequest:
    """A request of whole blocks, ten seconds after the one before; it asks for one token."""
    return TraceRequest(
        10.0 * number, len(keys) * BLOCK, 1, np.array(keys, np.uint64), BLOCK, scope, uses_cache=cached, number=number
    )


def test_who_goes_on_is_told_by_what_comes_later() -> None:
    trace = [
        asked(0, 1, 2, 3), asked(1, 1, 5, 6), asked(2, 1, 2, 3, 4), asked(3, 1, 2, 3, 4, scope="other"),
        asked(4, 1, 5, 6, 7, cached=False), asked(5, 1, 2, 9),
    ]  # fmt: skip
    assert goes_on(trace).tolist() == [True, False, True, False, False, False]
    said = [request.conversation for request in told(trace, goes_on(trace))]
    assert said == [ConversationState.GOES_ON if more else ConversationState.ENDED for more in (1, 0, 1, 0, 0, 0)]


def talks() -> list[TraceRequest]:
    """Of every three conversations one goes on, after nine others that do not."""
    requests, number = [], 0
    for round_ in range(30):
        first = 1000 * (round_ + 1)
        mine = [1, *range(first, first + 4)]
        requests.append(asked(number, *mine))
        for other in range(1, 7):
            requests.append(asked(number + other, 1, *range(first + 100 * other, first + 100 * other + 4)))
        requests.append(asked(number + 7, *mine, first + 50))
        number += 8
    return requests


@pytest.mark.parametrize("loop", ["cache", "engine"])
def test_what_ended_makes_room_for_what_goes_on(loop: str) -> None:
    config = CacheConfig(num_blocks=24, block_size=BLOCK, ghost_ratio=0.0)

    def hit_rate(trace: list[TraceRequest]) -> float:
        if loop == "cache":
            return replay_cache(trace, config).hit_rate
        return EngineReplay(config, SchedulerConfig(), MEASURED).run(trace).hit_rate

    trace = talks()
    assert hit_rate([*told(trace, goes_on(trace))]) > hit_rate(trace) + 0.05
