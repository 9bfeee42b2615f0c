"""Clients that say whether their conversations go on: what they would have said, from the trace's own future."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from foreword.cache import ConversationState
from foreword.replay.traces import TraceRequest

OPENING = 1
"""Blocks of a trace that many conversations begin with: who shares no more goes on from none."""


def goes_on(requests: Iterable[TraceRequest]) -> npt.NDArray[np.bool_]:
    """Of each request whether a later one goes on from it: shares more than ``OPENING`` blocks, and the last with it alone.

    Memory grows with the trace's blocks: they are named by their keys and scope, which stand for all before them.
    """
    found: list[bool] = []
    last: dict[tuple[str, int], int] = {}
    for number, request in enumerate(requests):
        found.append(False)
        if not request.uses_cache:
            continue
        names = [(request.scope, key) for key in request.keys[: -(-request.prompt_tokens // request.block_tokens)].tolist()]
        known = next((place for place, name in enumerate(names) if name not in last), len(names))
        if known > OPENING:
            found[last[names[known - 1]]] = True
        last.update(dict.fromkeys(names, number))
    return np.array(found, np.bool_)


def told(requests: Iterable[TraceRequest], going_on: npt.NDArray[np.bool_]) -> Iterator[TraceRequest]:
    """The same requests, each with its client's bit."""
    for request, more in zip(requests, going_on.tolist(), strict=True):
        yield replace(request, conversation=ConversationState.GOES_ON if more else ConversationState.ENDED)
