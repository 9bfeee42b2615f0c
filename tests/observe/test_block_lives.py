"""Lives of sampled blocks, by a scripted clock. Blocks are four tokens long; of 101 that are stored, the last is sampled."""

from collections.abc import Sequence

import numpy as np
import pytest

from foreword.cache import CacheConfig, ModelFingerprint, Namespace, PrefixCache, pack_tokens
from foreword.events import AllBlocksCleared, BlockRemoved, BlockReused, BlockStored, CacheEvent
from foreword.observe import BlockLife, BlockLives
from foreword.replay import process

SAMPLED = 100


def stored(blocks: Sequence[int], lacking: int = 0) -> BlockStored:
    """Blocks of which the last one lacks some tokens."""
    return BlockStored(b"", 0, bytes(4 * (4 * len(blocks) - lacking)), tuple(blocks))


def reused(*blocks: int) -> BlockReused:
    return BlockReused(np.array(blocks, np.int32).tobytes())


def removed(*blocks: int) -> BlockRemoved:
    return BlockRemoved(b"", 0, 4 * len(blocks), blocks)


@pytest.fixture
def lives() -> BlockLives:
    """Follows block 100, which was stored at second 10."""
    made = BlockLives(num_blocks=1010, block_size=4)
    assert made(stored(range(101)), 10) == []
    return made


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ([], BlockLife(20, 20, ())),
        ([12], BlockLife(20, 18, ())),
        ([12, 15, 21], BlockLife(20, 9, (3, 6))),
        ([11, 13, 16, 20, 25], BlockLife(20, 5, (3, 4, 5))),  # of the last four
    ],
)
def test_a_block_is_followed_from_storing_to_removal(lives: BlockLives, uses: list[float], expected: BlockLife) -> None:
    for now in uses:
        assert lives(reused(99, SAMPLED), now) == []
        assert lives(reused(99), now + 0.5) == [], "another block"
    assert lives(removed(98, SAMPLED, 99), 30) == [expected]
    assert lives(removed(SAMPLED), 31) == [], "it has been told"


def test_one_in_101_is_sampled_however_they_come() -> None:
    lives, at = BlockLives(num_blocks=1010, block_size=4), 0
    for count in (7, 300, 1, 92, 1, 99, 510):
        lives(stored(range(at, at + count)), at)
        at += count
    assert at == 1010
    sampled = [block for block in range(at) if lives(removed(block), 2000)]
    assert sampled == list(range(100, 1010, 101))


def test_a_begun_block_counts_once_when_it_is_full() -> None:
    lives = BlockLives(num_blocks=1010, block_size=4)
    lives(stored(range(101), lacking=1), 10)
    lives(stored([SAMPLED]), 15)
    assert lives(removed(SAMPLED), 30) == [BlockLife(15, 15, ())]
    lives(stored(range(100)), 40)
    assert lives(removed(*range(100)), 50) == []


def test_a_block_that_is_stored_again_is_another_one(lives: BlockLives) -> None:
    lives(removed(SAMPLED), 20)
    lives(stored([SAMPLED]), 21)
    lives(reused(SAMPLED), 22)
    assert lives(removed(SAMPLED), 23) == []


def test_with_the_cache_the_followed_blocks_are_forgotten(lives: BlockLives) -> None:
    assert lives(AllBlocksCleared(), 15) == []
    assert lives(reused(SAMPLED), 20) == []
    assert lives(removed(SAMPLED), 30) == []


def test_a_real_caches_events_are_enough() -> None:
    now = 0.0
    told: list[BlockLife] = []
    lives = BlockLives(num_blocks=128, block_size=4)

    def sink(event: CacheEvent) -> None:
        told.extend(lives(event, now))

    cache = PrefixCache(CacheConfig(num_blocks=128, block_size=4), events=sink)
    space = Namespace(ModelFingerprint("weights"))
    for start, first in ((1, 0), (5, 0), (7, 0), (20, 1000)):
        now = float(start)
        assert process(cache, space, pack_tokens(range(first, first + 405)), now)
    assert told == [BlockLife(20 - 1, 20 - 7, (7 - 5,))]
