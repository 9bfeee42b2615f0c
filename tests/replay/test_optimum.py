"""The offline optimum against all that could have been evicted, on small random traces; and the published figure."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from foreword.cache import CacheConfig
from foreword.replay import TraceRequest, optima, replay_cache
from foreword.replay.optimum import Optimum

Path = tuple[int, ...]


def request(number: int, keys: list[int], output: int = 1, size: int = 2) -> TraceRequest:
    return TraceRequest(float(number), size * len(keys), output, np.array(keys, np.uint64), size, number=number)


def best(paths: list[Path], room: int) -> int:
    """Blocks found, of all ways to evict: tries each set of leaves that makes just enough room."""
    states: dict[frozenset[Path], int] = {frozenset(): 0}
    for path in paths:
        own = frozenset(path[:end] for end in range(1, len(path) + 1))
        after: dict[frozenset[Path], int] = {}
        for held, hits in states.items():
            together = held | own
            for gone in itertools.combinations(together - own, max(0, len(together) - room)):
                left = together - set(gone)
                if all(len(block) == 1 or block[:-1] in left for block in left):
                    after[left] = max(after.get(left, 0), hits + len(held & own))
        states = after
    return max(states.values())


@pytest.mark.parametrize("seed", range(30))
def test_no_way_to_evict_is_better(seed: int) -> None:
    rng = random.Random(seed)
    paths = [tuple(rng.choices(range(2), k=rng.randrange(1, 4))) for _ in range(7)]
    asked = [
        request(number, [*path, 100 + number]) for number, path in enumerate(paths)
    ]  # an own block: no hit is cut short
    room = rng.randrange(4, 7)
    hits, prompt_tokens = Optimum.of(asked).hit_tokens(2 * room)
    assert hits == 2 * best([(*path, 100 + number) for number, path in enumerate(paths)], room)
    assert prompt_tokens == sum(each.prompt_tokens for each in asked)


def test_no_cache_exceeds_it_and_one_for_all_reaches_it() -> None:
    rng = random.Random(0)
    asked: list[TraceRequest] = []
    for number in range(200):
        start = rng.choice(asked).keys.tolist() if asked and rng.random() < 0.7 else []
        keys = [*start[: rng.randrange(len(start) + 1)], *(1000 + 10 * number + at for at in range(rng.randrange(1, 6)))]
        asked.append(request(number, keys, output=rng.randrange(1, 6)))
    caches = [CacheConfig(num_blocks=blocks, block_size=2) for blocks in (40, 80, 160, 5000)]
    found = optima(asked, caches)
    rates = [replay_cache(asked, cache).hit_rate for cache in caches]
    assert all(rate <= cell.hit_rate for rate, cell in zip(rates, found, strict=True))
    assert rates[-1] == found[-1].hit_rate > found[0].hit_rate > rates[0]


def test_who_may_not_share_does_not_and_what_does_not_fit_is_refused() -> None:
    one, other = request(0, [1, 2, 3]), request(1, [1, 2, 3])
    assert Optimum.of([one, other]).hit_tokens(100) == (5, 12)  # all but the last token
    assert Optimum.of([one, replace(other, scope="b")]).hit_tokens(100) == (0, 12)
    assert Optimum.of([one, replace(other, uses_cache=False)]).hit_tokens(100) == (0, 12)
    long = request(2, [1, 2, 3, 4])
    assert Optimum.of([one, long, other]).hit_tokens(6) == (5, 12)
    assert Optimum.of([]).hit_tokens(6) == (0, 0)
