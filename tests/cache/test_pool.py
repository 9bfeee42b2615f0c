"""Which block ids come out, in which order, and what a pin delays."""

import pytest

from foreword.cache.pool import BlockPool, Blocks
from foreword.errors import IntegrityError


def ids(blocks: Blocks) -> list[int]:
    return blocks.tolist()


def test_blocks_come_out_ascending_and_returned_runs_come_first() -> None:
    pool = BlockPool(8)
    first = pool.allocate(3)
    assert ids(first) == [0, 1, 2]
    assert ids(pool.allocate(2)) == [3, 4]
    pool.free(first)
    assert pool.free_count == 6
    assert ids(pool.allocate(4)) == [0, 1, 2, 5]
    assert pool.free_count == 2


def test_more_than_there_is_cannot_be_taken() -> None:
    pool = BlockPool(2)
    assert ids(pool.allocate(0)) == []
    with pytest.raises(IntegrityError, match="3 blocks"):
        pool.allocate(3)
    assert pool.free_count == 2


def test_what_was_handed_out_does_not_change_when_blocks_come_back() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2), pool.allocate(2)
    pool.free(second)
    assert ids(first) == [0, 1]


def test_a_pinned_block_comes_back_only_when_the_last_pin_goes() -> None:
    pool = BlockPool(4)
    blocks = pool.allocate(3)
    pool.pin(1)
    pool.pin(1)
    pool.free(blocks)
    assert pool.free_count == 3
    assert pool.limbo_blocks() == {1}
    pool.unpin(1)
    assert pool.free_count == 3
    pool.unpin(1)
    assert pool.free_count == 4
    assert pool.limbo_blocks() == set()
    assert sorted(ids(pool.free_blocks())) == [0, 1, 2, 3]


def test_a_pin_on_a_block_that_is_not_freed_changes_nothing() -> None:
    pool = BlockPool(2)
    block = pool.allocate(1)
    pool.pin(0)
    pool.unpin(0)
    assert pool.free_count == 1
    pool.free(block)
    assert pool.free_count == 2
