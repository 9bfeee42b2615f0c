"""The offline optimum: how much a cache could have had if it had known which requests would come.

Belady's rule on a tree of prefixes. What is needed again last, or never, goes first; of blocks that are needed again by the
same request the deepest goes first. A block is needed again no later than what is behind it, so whoever goes by that rule
takes leaves only, and what is left of a path is a beginning of it. So nothing has to be kept but how many blocks each later
request will find.

It is exact on its terms, and what no policy can exceed there: requests one after another, each whole in the cache while it
runs, in whole blocks of the trace.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foreword.replay.traces import TraceRequest


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request: its prompt's tokens, the blocks it holds while it runs, and the numbers of those of its prompt."""

    prompt_tokens: int
    held: int
    path: npt.NDArray[np.int32]


@dataclass
class Optimum:
    """A trace, read to its end, whose optimum can be asked for any size. Memory grows with the trace: 4 bytes a block.

    block_tokens
        Tokens of the trace's blocks; 0 before the first request.
    """

    block_tokens: int = 0
    _requests: list[_Asked] = field(default_factory=list)
    _next_uses: list[list[tuple[int, int]]] = field(default_factory=list)

    @classmethod
    def of(cls, requests: Iterable[TraceRequest]) -> "Optimum":
        """That of a trace."""
        made, children = cls(), dict[tuple[int, int | str], int]()
        for request in requests:
            made.add(request, children)
        made.look_ahead(len(children))
        return made

    def hit_tokens(self, cache_tokens: int) -> tuple[int, int]:
        """Prompt tokens that a cache of so many tokens would have had, and all of the requests that fit into it."""
        room = cache_tokens // self.block_tokens if self.block_tokens else 0
        waiting = [0] * (len(self._requests) + 1)  # blocks that wait for each request; those of the last for none
        farthest: list[int] = []  # a heap of the requests that some wait for, the last one first: negative numbers
        used = hits = asked = 0
        for number, request in enumerate(self._requests):
            found, waiting[number] = waiting[number], 0
            left = found  # of a request that does not fit; what it would have found waits for the next one
            if request.held <= room:
                asked += request.prompt_tokens
                hits += min(found * self.block_tokens, max(0, request.prompt_tokens - 1))
                used += request.held - found
                left = request.held
                while used > room:
                    last = -farthest[0]
                    gone = min(used - room, waiting[last])
                    waiting[last] -= gone
                    used -= gone
                    if not waiting[last]:
                        heapq.heappop(farthest)
            for time, count in self._next_uses[number]:
                if left and not waiting[time]:
                    heapq.heappush(farthest, -time)
                waiting[time] += min(count, left)
                left -= min(count, left)
        return hits, asked

    def add(self, request: TraceRequest, children: dict[tuple[int, int | str], int]) -> None:
        """Number the blocks of a prompt; blocks without a key are like no others."""
        size = self.block_tokens = self.block_tokens or request.block_tokens
        count = -(-request.prompt_tokens // size)
        path, parent, scope = np.empty(count, np.int32), -1, request.scope
        keys = request.keys[:count].tolist() if request.uses_cache else []
        for place in range(count):
            key = keys[place] if place < len(keys) else f"{request.number} {place}"
            step = (parent, f"{scope} {key}" if scope and place == 0 else key)
            parent = path[place] = children.setdefault(step, len(children))
        held = -(-(request.prompt_tokens + max(0, request.output_tokens - 1)) // size)
        self._requests.append(_Asked(request.prompt_tokens, held, path))

    def look_ahead(self, blocks: int) -> None:
        """By which later requests the blocks of each are needed again, and how many by each; ascending."""
        never = len(self._requests)
        later = np.full(blocks, never, np.int64)
        found = []
        for number in range(never - 1, -1, -1):
            request = self._requests[number]
            times, counts = np.unique(later[request.path], return_counts=True)
            found.append([*zip(times.tolist(), counts.tolist(), strict=True), (never, request.held - len(request.path))])
            later[request.path] = number
        self._next_uses = found[::-1]
