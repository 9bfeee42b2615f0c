"""The index of prefixes equals a naive one, over random events, joins and deaths; so do the prefixes in flight."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from foreword.routing.block_table import BlockTable
from foreword.routing.flights import Flights
from foreword.routing.index import PrefixIndex
from foreword.routing.reach import depth, depths

Hashes = npt.NDArray[np.uint64]
REPLICAS = 5


class World:
    """Random prompts: they begin alike, and part somewhere."""

    def __init__(self, seed: int):
        self.draw = np.random.default_rng(seed)
        trunk = self.hashes(40)
        cuts = self.draw.integers(1, 40, 40)
        self.prompts = [np.concatenate((trunk[:cut], self.hashes(int(self.draw.integers(0, 60))))) for cut in cuts]

    def hashes(self, count: int) -> Hashes:
        """Blocks that nobody else has."""
        return self.draw.integers(1, 2**63, count).astype(np.uint64) * np.uint64(2) + np.uint64(1)

    def prompt(self) -> Hashes:
        """One of the prompts."""
        return self.prompts[self.draw.integers(len(self.prompts))]

    def steps(self, count: int) -> Iterator[tuple[float, int, Hashes, int]]:
        """What to do, which replica does it, with which prompt, and a place in that."""
        for _ in range(count):
            prompt = self.prompt()
            yield self.draw.random(), int(self.draw.integers(REPLICAS)), prompt, int(self.draw.integers(len(prompt) + 1))


def shared(a: Hashes, b: Hashes) -> int:
    """How many leading blocks two prompts share."""
    size = min(len(a), len(b))
    return next((at for at in range(size) if a[at] != b[at]), size)


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_index_equals_sets_of_blocks(seed: int, gaps: bool) -> None:
    """With ``gaps`` replicas lose blocks before others that they keep."""
    world, index = World(seed), PrefixIndex(expected_blocks=16)  # it grows while it is used
    if gaps:
        index.doubt(REPLICAS)
    naive: list[set[int]] = [set() for _ in range(REPLICAS)]
    for what, replica, prompt, cut in world.steps(400):
        if what < 0.6:
            index.store(replica, prompt[:cut])
            naive[replica].update(prompt[:cut].tolist())
        elif what < 0.98:
            tails = [each[cut:] for each in world.prompts if each is prompt or (not gaps and shared(each, prompt) > cut)]
            tail = np.unique(np.concatenate(tails))
            gone = set(tail.tolist())
            assert index.remove(replica, tail) == len(gone - naive[replica])
            naive[replica] -= gone
        else:
            index.clear(replica)
            naive[replica].clear()
        asked = world.prompt()
        found = depths(index.reach(asked), REPLICAS).tolist()
        missing = [[block not in held for block in asked.tolist()] for held in naive]
        assert found == [(*flags, True).index(True) for flags in missing]
        assert [index.blocks(each) for each in range(REPLICAS)] == [len(held) for held in naive]
        assert index.blocks() == len(set().union(*naive))


@pytest.mark.parametrize("seed", range(4))
def test_prefixes_in_flight_equal_a_list_of_them(seed: int) -> None:
    world, flights = World(seed), Flights()
    naive: list[tuple[int, Hashes]] = []
    for what, replica, prompt, _ in world.steps(300):
        if what < 0.5 or not naive:
            flights.add(replica, prompt)
            naive.append((replica, prompt))
        else:
            flights.remove(*naive.pop(int(world.draw.integers(len(naive)))))
        asked = world.prompt()
        found = depths(flights.reach(asked), REPLICAS).tolist()
        assert found == [max([0, *(shared(asked, p) for r, p in naive if r == each)]) for each in range(REPLICAS)]
    for each in naive:
        flights.remove(*each)
    assert flights.edges() == 0


def test_prefixes_in_flight_stay_in_few_pieces() -> None:
    world, flights = World(0), Flights()
    long = world.hashes(500)
    flights.add(0, long)
    for cut in range(1, 500):
        flights.add(1, long[:cut])
        flights.remove(1, long[:cut])
    assert flights.edges() == 1


def test_a_bucket_that_is_full_loses_nothing() -> None:
    table = BlockTable(expected=10_000)
    one_bucket = np.arange(1, 101, dtype=np.uint64)  # the first bits choose the bucket
    numbers = np.arange(1, 101, dtype=np.uint32)
    table.change(one_bucket, lambda before: before + numbers)
    assert table.get(one_bucket).tolist() == numbers.tolist()
    table.change(one_bucket[::2], lambda before: before * np.uint32(0))
    assert table.count == 50
    assert table.get(one_bucket).tolist() == [0 if at % 2 == 0 else at + 1 for at in range(100)]


def test_a_replica_that_went_leaves_nothing_to_one_that_gets_its_number() -> None:
    world, index = World(1), PrefixIndex()
    prompt = world.prompt()
    index.store(0, prompt)
    index.store(1, prompt[:1])
    index.clear(0)
    assert depths(index.reach(prompt), 2).tolist() == [0, 1]
    assert index.blocks() == 1


def test_of_many_replicas_each_has_its_depth() -> None:
    masks = [(1 << 70) - 1, 0b11111 << 40, 1 << 43]
    reach = list(zip((3, 5, 9), masks, strict=True))
    found = depths(reach, 70)
    assert [found[at] for at in (0, 39, 40, 43, 44, 45, 69)] == [3, 3, 5, 9, 5, 3, 3]
    assert found.tolist() == [depth(reach, replica) for replica in range(70)]
    assert depth(reach, 70) == 0 and depth([], 0) == 0
