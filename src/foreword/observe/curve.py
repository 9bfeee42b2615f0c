"""The hit rate against the size of the cache, live, from a sample of the prompts' tokens.

A leaf-first LRU prefix cache is a stack: each request lifts its tokens to the top, the first token uppermost, and a token
is a hit in every cache that holds all that lies above it, and the request itself. So one pass gives the hit rate of all
sizes at once. Only tokens whose prefix hash falls below a threshold are followed, their distances scaled up; when they
are too many the threshold sinks. (Waldspurger and others, "Efficient MRC construction with SHARDS", FAST 2015, with that
paper's adjustment for what the sample has too much or too little of.)
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreword.observe.hashing import HASHES, Hashes
from foreword.tokens import TOKEN_BYTES, shared_from

BINS_PER_DOUBLING = 16
BINS = [2 ** (index / BINS_PER_DOUBLING) for index in range(64 * BINS_PER_DOUBLING)]  # sizes at which they begin, in tokens
HASH_BYTES = 8
FIRST_PLACES = 1024  # room for runs, at first


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
    followed_tokens
        How many tokens are followed now.
    """

    points: tuple[CurvePoint, ...]
    unlimited: float
    prompt_tokens: int
    sampled_share: float
    followed_tokens: int


class HitRateCurve:
    """Follows at most ``max_samples`` tokens (about 300 bytes each at most), however many requests come.

    A cache refuses prompts that it cannot hold, so that caches smaller than the longest prompt do not all see the same
    requests, and are no stack. Each of ``sizes``, in tokens, that a prompt turns out to exceed is therefore followed apart
    from then on. At other sizes below the longest prompt the curve is too low: there, what is refused pushes others out.
    """

    def __init__(self, max_samples: int = 8192, sizes: Iterable[int] = ()):
        self._stack = LruStack(max_samples)
        self._unexceeded = sorted(sizes)
        self._apart: dict[int, LruStack] = {}
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
        stack = self._stack
        return CurveSnapshot(points, self._rate(stack, math.inf), self._prompt_tokens, stack.share, stack.followed)

    def stacks(self) -> dict[int | None, "LruStack"]:
        """For inspection: what all sizes have in common (None), and the sizes that are followed apart."""
        return dict([(None, self._stack), *self._apart.items()])

    def _rate(self, stack: "LruStack", size: float) -> float:
        return min(1.0, max(0.0, stack.hits(size) / self._prompt_tokens)) if self._prompt_tokens else 0.0


class LruStack:
    """The followed tokens in the order of their last use, and in which sizes of cache the requests' tokens were hits.

    Followed tokens that every prompt has one after another make a *run*, known by the hash of its first token. A request
    is a few runs, whatever its length; where it leaves one in its midst, that one is cut in two. A run has a place in time,
    the later the higher, and within a request the first run is uppermost.
    """

    def __init__(self, max_samples: int):
        self.max_samples = max_samples
        self.followed = 0
        self._threshold = HASHES  # tokens with a hash below it are followed
        self._largest = np.uint64(HASHES - 1)  # the largest such hash
        self._runs: dict[bytes, bytes] = {}  # first hash → all of a run's, packed
        self._places: dict[bytes, int] = {}  # first hash → place
        self._sizes: npt.NDArray[np.int64] = np.zeros(FIRST_PLACES, np.int64)  # by place, in tokens
        self._top = 0  # the next place
        self._hits: dict[int, float] = {}  # bin of the size that would have hit → tokens
        self._prompt_tokens = 0
        self._sampled_tokens = 0.0  # how many prompt tokens the sample stands for

    @property
    def share(self) -> float:
        """Which share of the tokens is followed."""
        return self._threshold / HASHES

    def observe(self, hashes: Hashes, prompt_tokens: int) -> None:
        """Take a request, as HitRateCurve does."""
        chosen = hashes <= self._largest
        followed = hashes[chosen].tobytes()
        weight = HASHES / self._threshold
        self._prompt_tokens += prompt_tokens
        self._sampled_tokens += weight * np.count_nonzero(chosen[:prompt_tokens])
        path = self._path(followed)
        if path:
            reusable = int(np.count_nonzero(chosen[: max(0, prompt_tokens - 1)]))  # the last token is always computed
            self._count(path, reusable, len(hashes), weight)
        self._lift(path, followed)
        if self.followed > self.max_samples:
            self._follow_fewer()

    def hits(self, size: float) -> float:
        """Prompt tokens that would have been hits in a cache of ``size`` tokens."""
        edge = math.log2(max(size, 1)) * BINS_PER_DOUBLING
        hits = sum(tokens * min(1.0, max(0.0, edge - index)) for index, tokens in self._hits.items())
        if self._hits and edge > min(self._hits):
            hits += self._prompt_tokens - self._sampled_tokens
        return hits

    @property
    def room(self) -> int:
        """Places that there is room for, used or not."""
        return len(self._sizes)

    def check(self) -> None:
        """AssertionError if what it holds of the followed tokens, their runs and their places does not agree."""
        assert self.followed == sum(map(len, self._runs.values())) // HASH_BYTES == self._sizes.sum()
        assert len(self._runs) == len(self._places) == len(set(self._places.values()))

    def _path(self, followed: bytes) -> list[bytes]:
        """The runs with which a request's packed hashes begin, each by its first hash; after a new one all are new."""
        path: list[bytes] = []
        at = 0
        while (run := self._runs.get(first := followed[at : at + HASH_BYTES])) is not None:
            if not followed.startswith(run, at):
                run = self._cut(first, run, shared_from(followed, at, run) * TOKEN_BYTES // HASH_BYTES * HASH_BYTES)
            path.append(first)
            at += len(run)
        return path

    def _cut(self, first: bytes, run: bytes, at: int) -> bytes:
        """Cut a run at a byte; returns the upper part. They share a place until the upper one is lifted."""
        upper, rest = run[:at], run[at:]
        self._runs[first], self._runs[rest[:HASH_BYTES]] = upper, rest
        self._places[rest[:HASH_BYTES]] = self._places[first]
        return upper

    def _count(self, path: list[bytes], reusable: int, length: int, weight: float) -> None:
        """Enter the sizes of cache in which the first ``reusable`` sampled tokens of a request are hits."""
        hits, places = self._hits, [self._places[first] for first in path]
        lowest = min(places) + 1
        from_lowest = self._sizes[lowest : self._top].cumsum()
        all_above = int(from_lowest[-1]) if len(from_lowest) else 0
        for first, place in zip(path, places, strict=True):
            above = all_above - (int(from_lowest[place - lowest]) if place >= lowest else 0)
            end = above + min(len(self._runs[first]) // HASH_BYTES, reusable)
            reusable -= end - above
            while above < end:
                next_bin = bisect_right(BINS, max(above * weight, length))
                tokens = max(1, min(math.ceil(BINS[next_bin] / weight), end) - above)
                hits[next_bin - 1] = hits.get(next_bin - 1, 0.0) + tokens * weight
                above += tokens

    def _lift(self, path: list[bytes], followed: bytes) -> None:
        """Put the runs of a request on top, the first one uppermost; what comes after them is a new run."""
        if self._top + len(path) + 1 > len(self._sizes):
            self._close_gaps(len(path) + 1)
        runs, places, sizes, top = self._runs, self._places, self._sizes, self._top
        lengths = [len(runs[first]) for first in path]
        new = followed[sum(lengths) :]
        if new:
            first = new[:HASH_BYTES]
            runs[first], places[first] = new, top
            sizes[top] = len(new) // HASH_BYTES
            self.followed += len(new) // HASH_BYTES
            top += 1
        for first, length in zip(reversed(path), reversed(lengths), strict=True):
            size = length // HASH_BYTES
            sizes[places[first]] -= size
            places[first] = top
            sizes[top] = size
            top += 1
        self._top = top

    def _close_gaps(self, wanted: int) -> None:
        """Number the places anew, without those that are empty, and make room for more."""
        sizes = self._sizes[: self._top]
        used = sizes > 0
        number = (used.cumsum() - 1).tolist()
        self._places = {first: number[place] for first, place in self._places.items()}
        self._top = int(np.count_nonzero(used))
        self._sizes = np.zeros(max(FIRST_PLACES, 2 * (self._top + wanted)), np.int64)
        self._sizes[: self._top] = sizes[used]

    def _follow_fewer(self) -> None:
        """Let go of the tokens with the largest hashes, an eighth of them, and follow none with as large a one again."""
        runs, places = list(self._runs.values()), self._places
        hashes = np.frombuffer(b"".join(runs), np.uint64)
        self.followed = self.max_samples - self.max_samples // 8
        threshold = np.partition(hashes, self.followed)[self.followed]
        self._threshold, self._largest = int(threshold), threshold - np.uint64(1)
        kept = hashes < threshold
        packed = hashes[kept].tobytes()
        ends = np.cumsum([len(run) // HASH_BYTES for run in runs])
        bounds = [0, *(HASH_BYTES * kept.cumsum()[ends - 1]).tolist()]
        self._runs, self._places = {}, {}
        self._sizes[:] = 0
        for run, start, end in zip(runs, bounds, bounds[1:], strict=False):
            if start < end:
                first, place = packed[start : start + HASH_BYTES], places[run[:HASH_BYTES]]
                self._runs[first], self._places[first] = packed[start:end], place
                self._sizes[place] = (end - start) // HASH_BYTES
