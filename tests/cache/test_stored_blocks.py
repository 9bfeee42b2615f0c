"""What stores have as routers read it: an index that believes nothing that does not fit equals what stores answered."""

import random

import pytest

from cache.test_kv_events import Index
from foreword.cache import PrivatePart, pack_tokens
from foreword.cache.block_hashes import BlockHasher
from foreword.cache.kv_events import STORAGE, RemovedBlocks, StoredBlocks
from foreword.cache.stored_blocks import StoredNames, StoreTranslator
from foreword.events import StoreAnswered
from foreword.testing.hash_kv import SPACE

SIZE = 4


def answer(ids: list[int], until: int, start: int = 0, private: PrivatePart | None = None) -> StoreAnswered:
    owner, private_from = (None, 0) if private is None else (private.owner, private.start)
    return StoreAnswered(SPACE.key, pack_tokens(ids), start, until, owner, private_from)


@pytest.mark.parametrize("seed", range(20))
def test_an_index_equals_what_stores_answered(seed: int) -> None:
    """A store that loses blocks at random; a prompt's end is lost with what it stands behind."""
    draw, translator, index, hasher = random.Random(seed), StoreTranslator(SIZE, SPACE.key), Index(SIZE), BlockHasher(SIZE)
    reached: set[int] = set()
    for _ in range(200):
        ids = [draw.randrange(2) for _ in range(4 * draw.randrange(1, 6))]  # many begin alike
        until = 4 * draw.randrange(len(ids) // 4 + 1)
        told = translator(answer(ids, until))
        assert all(each.medium == STORAGE for each in told)
        for each in told:
            index(each)
        names = hasher.prompt(SPACE.key, pack_tokens(ids)).tolist()
        reached = {name for name in index.blocks if name not in names} | set(names[: until // 4])
        assert set(index.blocks) == reached
        rebuilt = Index(SIZE)
        for record in translator.snapshot():
            rebuilt(record)
        assert rebuilt.blocks == index.blocks
    assert reached


def test_what_is_known_is_not_told_again_and_what_is_gone_goes_tail_first() -> None:
    translator, ids = StoreTranslator(SIZE, SPACE.key), [*range(12)]
    a, b, c = BlockHasher(SIZE).prompt(SPACE.key, pack_tokens(ids)).tolist()
    assert translator(answer(ids, 8)) == [StoredBlocks((a, b), None, pack_tokens(ids[:8]), None, STORAGE)]
    assert translator(answer(ids, 8)) == []
    assert translator(answer(ids, 12, start=8)) == [StoredBlocks((c,), b, pack_tokens(ids[8:]), None, STORAGE)]
    assert translator(answer(ids, 4)) == [RemovedBlocks((c, b), STORAGE)]


def test_nothing_is_told_behind_what_is_not_known() -> None:
    translator = StoreTranslator(SIZE, SPACE.key)
    assert translator(answer([*range(12)], 12, start=8)) == []


def test_only_the_owners_part_has_a_scope() -> None:
    private = PrivatePart(4, "ann")
    first, second = StoreTranslator(SIZE, SPACE.key)(answer([*range(12)], 12, private=private))
    assert isinstance(first, StoredBlocks) and isinstance(second, StoredBlocks)
    assert (len(first.hashes), first.scope, len(second.hashes)) == (1, None, 2)
    assert second.scope is not None
    assert (
        list(first.hashes + second.hashes) == BlockHasher(SIZE).prompt(SPACE.key, pack_tokens(range(12)), private).tolist()
    )


def test_of_more_than_is_kept_nothing_is_told_until_some_are_gone() -> None:
    translator = StoreTranslator(SIZE, SPACE.key, most=3)
    (told,) = translator(answer([*range(20)], 20))
    assert isinstance(told, StoredBlocks) and len(told.hashes) == 3
    assert translator(answer([*range(50, 62)], 12)) == []
    translator(answer([*range(20)], 4))
    (told,) = translator(answer([*range(50, 62)], 12))
    assert isinstance(told, StoredBlocks) and len(told.hashes) == 2


def test_names_of_what_is_there_are_kept_until_it_is_missed_or_others_were_told_of_later() -> None:
    names, (one, two) = StoredNames(SIZE, most=5), ([*range(12)], [*range(50, 62)])
    (a, b, c), (d, e, f) = (BlockHasher(SIZE).prompt(SPACE.key, pack_tokens(ids)).tolist() for ids in (one, two))

    def told(event: StoreAnswered) -> tuple[list[int], list[int]]:
        there, gone = names(event)
        return there.tolist(), gone.tolist()

    assert told(answer(one, 8)) == ([a, b], [c])
    assert told(answer(one, 12, start=8)) == ([c], [])
    assert told(answer(two, 8)) == ([d, e], [f])
    assert names.snapshot().tolist() == [a, b, c, d, e]
    assert told(answer(one, 4)) == ([a], [b, c])
    assert names.snapshot().tolist() == [d, e, a]
    assert told(answer(one, 12)) == ([a, b, c], [])
    assert told(answer(two, 12, start=8)) == ([f], [])
    assert names.snapshot().tolist() == [e, a, b, c, f], "five, and d was told of before all others"


def test_names_are_those_under_which_a_router_looks_for_an_owners_prompt() -> None:
    private = PrivatePart(4, "ann")
    there, _ = StoredNames(SIZE)(answer([*range(12)], 12, private=private))
    assert there.tolist() == BlockHasher(SIZE).prompt(SPACE.key, pack_tokens(range(12)), private).tolist()
