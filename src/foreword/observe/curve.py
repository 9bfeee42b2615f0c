"""The hit rate against the size of the cache, live, from a sample of the prompts' tokens.

A leaf-first LRU prefix cache is a stack: each request lifts its tokens to the top, the first token uppermost, and a token
is a hit in every cache that holds all that lies above it, and the request itself. So one pass gives the hit rate of all
sizes at once. Only tokens whose prefix hash falls below a threshold are followed, their distances scaled up; when they
are too many the threshold sinks. (Waldspurger and others, "Efficient MRC construction with SHARDS", FAST 2015, with that
paper's adjustment for what the sample has too much or too little of.)
"""

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from foreword.observe.hashing import HASHES, Hashes

BINS_PER_DOUBLING = 16


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a cache of so many tokens would have hit, as a share (0 to 1) of the prompt tokens."""

    tokens: int
    hit_rate: float


@dataclass(frozen=True, slots=True)
class CurveSnapshot:
    """The curve of all requests seen.

    unlimited
        The hit rate of a cache that never evicts.
    prompt_tokens
        How many prompt tokens the rates are shares of.
    sampled_share
        Which share of the tokens is followed now.
    """

    points: tuple[CurvePoint, ...]
    unlimited: float
    prompt_tokens: int
    sampled_share: float


class HitRateCurve:
    """Follows at most ``max_samples`` tokens (about 300 bytes each), however many requests come.

    A cache refuses prompts that it cannot hold, so that caches smaller than the longest prompt do not all see the same
    requests, and are no stack. Each of ``sizes``, in tokens, that a prompt turns out to exceed is therefore followed apart
    from then on. At other sizes below the longest prompt the curve is too low: there, what is refused pushes others out.
    """

    def __init__(self, max_samples: int = 8192, sizes: Iterable[int] = ()):
        self._stack = _Stack(max_samples)
        self._unexceeded = sorted(sizes)
        self._apart: dict[int, _Stack] = {}
        self._prompt_tokens = 0

    def observe(self, hashes: Hashes, prompt_tokens: int) -> None:
        """A request ended: the hashes of all its prefixes, of which the first ``prompt_tokens`` are the prompt's."""
        while self._unexceeded and self._unexceeded[0] < len(hashes):
            self._apart[self._unexceeded.pop(0)] = deepcopy(self._stack)
        self._prompt_tokens += prompt_tokens
        self._stack.observe(hashes, prompt_tokens)
        for size, stack in self._apart.items():
            if len(hashes) <= size:
                stack.observe(hashes, prompt_tokens)

    def snapshot(self, sizes: Sequence[int]) -> CurveSnapshot:
        """The curve at some sizes, in tokens."""
        points = tuple(CurvePoint(size, self._rate(self._apart.get(size, self._stack), size)) for size in sizes)
        return CurveSnapshot(points, self._rate(self._stack, math.inf), self._prompt_tokens, self._stack.share)

    def _rate(self, stack: "_Stack", size: float) -> float:
        return min(1.0, max(0.0, stack.hits(size) / self._prompt_tokens)) if self._prompt_tokens else 0.0


class _Stack:
    """The followed tokens in the order of their last use, and in which sizes of cache the requests' tokens were hits."""

    def __init__(self, max_samples: int):
        self.max_samples = max_samples
        self._threshold = HASHES  # tokens with a hash below it are followed
        self._limit = np.uint64(HASHES - 1)  # the threshold, once it is lower
        self._last: dict[int, int] = {}  # hash of a followed token → when it was used last
        self._times: list[int] = []  # the values of _last, ascending
        self._largest: list[int] = []  # a heap of the negated hashes
        self._clock = 0
        self._hits: dict[int, float] = {}  # bin of the size that would have hit → tokens
        self._prompt_tokens = 0
        self._sampled_tokens = 0.0  # how many prompt tokens the sample stands for

    @property
    def share(self) -> float:
        """Which share of the tokens is followed."""
        return self._threshold / HASHES

    def observe(self, hashes: Hashes, prompt_tokens: int) -> None:
        """Take a request, as HitRateCurve does."""
        places: Sequence[int] = range(len(hashes))  # of the followed tokens in the request
        followed = hashes
        if self._threshold < HASHES:
            found = (hashes < self._limit).nonzero()[0]
            followed, places = hashes[found], found.tolist()
        keys: list[int] = followed.tolist()
        weight = HASHES / self._threshold
        sampled = bisect_left(places, prompt_tokens)
        reusable = bisect_left(places, prompt_tokens - 1, 0, sampled)  # the last token is always computed
        self._prompt_tokens += prompt_tokens
        self._sampled_tokens += weight * sampled
        runs = self._runs(keys)
        self._count(runs, reusable, len(hashes), weight)
        self._lift(keys, runs)
        if len(self._last) > self.max_samples:
            self._drop_largest(len(self._last) - self.max_samples)

    def hits(self, size: float) -> float:
        """Prompt tokens that would have been hits in a cache of ``size`` tokens."""
        edge = math.log2(max(size, 1)) * BINS_PER_DOUBLING
        hits = sum(tokens * min(1.0, max(0.0, edge - index)) for index, tokens in self._hits.items())
        if self._hits and edge > min(self._hits):
            hits += self._prompt_tokens - self._sampled_tokens
        return hits

    def _runs(self, keys: list[int]) -> list[tuple[int, int]]:
        """The followed tokens of a request that were used before, as (when, how many): each used one tick before the last.

        Tokens that were used together stand together in time, so that a prompt is a few runs. Along a prompt the times fall
        by one or more: where a run ends is found by bisection. Where a prefix is new, all that follows it is.
        """
        runs: list[tuple[int, int]] = []
        last, start = self._last, 0
        while start < len(keys) and (first := last.get(keys[start])) is not None:
            low, high = start + 1, len(keys)
            while low < high:
                middle = (low + high) // 2
                if last.get(keys[middle]) == first - (middle - start):
                    low = middle + 1
                else:
                    high = middle
            runs.append((first, low - start))
            start = low
        return runs

    def _count(self, runs: list[tuple[int, int]], reusable: int, length: int, weight: float) -> None:
        """Enter the sizes of cache in which the first ``reusable`` sampled tokens of a request are hits."""
        hits, followed = self._hits, len(self._times)
        for first, count in runs:
            above = followed - bisect_right(self._times, first)
            end = above + min(count, reusable)
            reusable -= end - above
            while above < end:
                index = int(math.log2(max(above * weight, length)) * BINS_PER_DOUBLING)
                next_bin = math.ceil(2 ** ((index + 1) / BINS_PER_DOUBLING) / weight)
                tokens = max(1, min(next_bin, end) - above)
                hits[index] = hits.get(index, 0.0) + tokens * weight
                above += tokens

    def _lift(self, keys: list[int], runs: list[tuple[int, int]]) -> None:
        """Put the sampled tokens of a request on top, the first one uppermost."""
        for first, count in runs:
            end = bisect_right(self._times, first)
            del self._times[end - count : end]
        for key in keys[sum(count for _, count in runs) :]:
            heapq.heappush(self._largest, -key)
        times = range(self._clock + 1, self._clock + 1 + len(keys))
        self._last.update(zip(reversed(keys), times, strict=True))
        self._times.extend(times)
        self._clock += len(keys)

    def _drop_largest(self, count: int) -> None:
        """Follow ``count`` tokens less, and none with as large a hash from now on."""
        for _ in range(count):
            self._threshold = -heapq.heappop(self._largest)
            del self._times[bisect_left(self._times, self._last.pop(self._threshold))]
        self._limit = np.uint64(self._threshold)
