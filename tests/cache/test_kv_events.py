"""A cache's events as routers read them: an index that knows nothing else holds the tree's whole blocks, at any moment."""

import random

import pytest

from cache.harness import Machine
from cache.test_properties import Life
from foreword.cache import CacheConfig, Namespace, PrivatePart, pack_tokens
from foreword.cache.block_hashes import BlockHasher
from foreword.cache.kv_events import ClearedBlocks, KVEvent, KVEventTranslator, RemovedBlocks, StoredBlocks
from foreword.events import BlockRemoved, BlockStored
from foreword.testing.hash_kv import MODEL, SPACE

SALTED = Namespace(MODEL, cache_salt="pepper")
Block = tuple[int | None, bytes, str | None]
"""What an index knows of a hash: its parent, its tokens, its scope."""


class Index:
    """An index of blocks as a router has it. It believes nothing that does not fit."""

    def __init__(self, size: int):
        self.blocks: dict[int, Block] = {}
        self._width = 4 * size

    def __call__(self, event: KVEvent | None) -> None:
        if isinstance(event, StoredBlocks):
            assert event.parent is None or event.parent in self.blocks, "an unknown parent"
            assert len(event.tokens) == self._width * len(event.hashes)
            parent = event.parent
            for number, name in enumerate(event.hashes):
                assert name not in self.blocks, "stored twice"
                self.blocks[name] = (parent, event.tokens[number * self._width :][: self._width], event.scope)
                parent = name
        elif isinstance(event, RemovedBlocks):
            for name in event.hashes:
                assert all(parent != name for parent, _, _ in self.blocks.values()), "a child is left behind"
                del self.blocks[name]
        elif isinstance(event, ClearedBlocks):
            self.blocks.clear()


class Followed:
    """A machine, what its events come to, and an index that hears them."""

    def __init__(self, machine: Machine):
        self.machine = machine
        config = machine.config
        self.translator = KVEventTranslator(config.num_blocks, config.block_size, SPACE.key)
        self.hasher = BlockHasher(config.block_size)
        self.index = Index(config.block_size)
        machine.listeners.append(lambda event: self.index(self.translator(event)))

    def expected(self) -> dict[int, tuple[bytes, str | None]]:
        """The tree's whole readable blocks, by the hash that the way down to each has: its tokens, and its owner."""
        size, found = self.machine.config.block_size, {}
        for node in self.machine.nodes():
            if node.ready - node.start < size:
                continue
            way, above = b"", node.parent
            while above is not None:
                way, above = above.edge.tobytes() + way, above.parent
            door = node.door
            tokens = way + node.tokens(node.start, node.ready)
            hashes = self.hasher.prompt(node.root.key, tokens, door)[node.start // size :].tolist()
            for number, name in enumerate(hashes):
                start = node.start + number * size
                found[name] = node.tokens(start, start + size), None if door is None else door.owner
        return found

    def check(self) -> None:
        expected = self.expected()
        assert {name: tokens for name, (_, tokens, _) in self.index.blocks.items()} == {
            name: tokens for name, (tokens, _) in expected.items()
        }
        assert len(self.translator) == len(expected)
        rebuilt = Index(self.machine.config.block_size)
        for record in self.translator.snapshot():
            rebuilt(record)
        assert rebuilt.blocks == self.index.blocks


@pytest.mark.parametrize("batch", range(2))
def test_an_index_equals_the_tree_in_any_life(batch: int) -> None:
    for seed in range(batch, 120, 2):
        try:
            life = Life(seed)
            followed = Followed(life.machine)
            for _ in range(life.rng.randrange(60)):
                life.operate()
                followed.check()
            life.machine.drain()
            followed.check()
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def followed(blocks: int = 64) -> Followed:
    return Followed(Machine(CacheConfig(num_blocks=blocks, block_size=4)))


def serve(
    world: Followed, ids: list[int], namespace: Namespace = SPACE, private: PrivatePart | None = None
) -> list[KVEvent]:
    """A request from beginning to end; what was told."""
    told: list[KVEvent] = []
    inner = world.translator

    machine = world.machine
    machine.listeners[:] = [lambda event: told.append(found) if (found := inner(event)) is not None else None]
    request = machine.must_start(ids, namespace, private=private)
    machine.complete()
    machine.finish(request)
    return told


def test_whole_blocks_are_told_behind_their_parents() -> None:
    world = followed()
    (first,) = serve(world, [*range(10)])
    assert isinstance(first, StoredBlocks)
    assert (first.parent, first.tokens, first.scope) == (None, pack_tokens([*range(8)]), None)
    assert first.hashes == tuple(world.hasher.prompt(SPACE.key, pack_tokens([*range(10)])).tolist())
    (second,) = serve(world, [*range(8), 20, 21, 22, 23])
    assert isinstance(second, StoredBlocks)
    assert (second.parent, second.tokens) == (first.hashes[1], pack_tokens([20, 21, 22, 23]))


def test_removals_come_tail_first() -> None:
    world = followed(blocks=4)
    (stored,) = serve(world, [*range(16)])
    removed, _ = serve(world, [*range(50, 62)])
    assert isinstance(stored, StoredBlocks)
    assert removed == RemovedBlocks(stored.hashes[:0:-1])


def test_nobody_elses_tokens_have_the_same_names() -> None:
    """The same tokens for everyone, with a salt, of two owners, and of an owner from another place on: eight names."""
    world, ids = followed(), [*range(8)]
    spaces: list[tuple[Namespace, PrivatePart | None]] = [(SPACE, None), (SALTED, None)]
    spaces += [(SPACE, PrivatePart(start, owner)) for start, owner in ((0, "a"), (0, "b"), (1, "a"))]
    told = [event for namespace, private in spaces for event in serve(world, ids, namespace, private)]
    stored = [event for event in told if isinstance(event, StoredBlocks)]
    assert len({name for event in stored for name in event.hashes}) == 2 * len(spaces)
    assert len({event.scope for event in stored}) == 4  # everyone's, the salt's, a's and b's


def test_a_reset_clears_all() -> None:
    world = followed()
    serve(world, [*range(9)])
    told: list[KVEvent | None] = []
    world.machine.listeners[:] = [lambda event: told.append(world.translator(event))]
    world.machine.cache.reset()
    assert told[-1] == ClearedBlocks()
    assert not list(world.translator.snapshot())


def test_who_listens_late_is_told_of_no_unknown_parent() -> None:
    translator = KVEventTranslator(8, 4, SPACE.key)
    assert translator(BlockStored(SPACE.key, 4, pack_tokens([1, 2, 3, 4]), (3,), parent=2)) is None
    assert translator(BlockRemoved(SPACE.key, 0, 4, (2,))) is None


def test_hashes_are_the_same_in_every_process() -> None:
    """Their values, so that a change of the function is noticed: two processes of two versions would not agree."""
    hasher = BlockHasher(4)
    hashes = hasher.prompt(b"space", pack_tokens([*range(12)]), PrivatePart(6, "me")).tolist()
    assert hashes == [11173271996699782059, 2475711323984426720, 779621846876128877]
    assert len(hasher.prompt(b"space", pack_tokens([1, 2, 3]))) == 0


def test_a_prompts_hashes_are_those_of_its_parts() -> None:
    rng, hasher = random.Random(1), BlockHasher(4)
    ids = [rng.randrange(9) for _ in range(40)]
    whole = hasher.prompt(SPACE.key, pack_tokens(ids)).tolist()
    for cut in range(1, 10):
        rest = hasher.chain(whole[cut - 1], cut, pack_tokens(ids[4 * cut :])).tolist()
        assert whole[cut:] == rest
    assert len(set(whole)) == 10
