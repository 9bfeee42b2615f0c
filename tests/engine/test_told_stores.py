"""What an engine tells of its stores: as it stores, as it looks up, and when a block does not come."""

from array import array
from pathlib import Path

from engine.over_stores import PROMPTS, WHOLE, ask, engine_over, packs, settle
from foreword.account import MissReason, Source
from foreword.cache import LoadBlocks, Namespace, PrivatePart, Query, StoreBlocks, Stored
from foreword.cache.block_hashes import BlockHasher
from foreword.cache.stored_blocks import StoreTranslator
from foreword.engine import Engine, EngineConfig
from foreword.engine.records import store_found, store_moved
from foreword.engine.tier import Found, Loaded, PutAway
from foreword.events import Event, StoreAnswered
from foreword.testing.hash_kv import MODEL, SPACE
from foreword.tokens import pack_tokens

TOKENS = pack_tokens(range(12))
BLOCKS = array("i", (0, 1))


def test_what_is_stored_is_told_and_after_a_restart_what_is_found(config: EngineConfig, tmp_path: Path) -> None:
    for again in (False, True):
        with engine_over(config, packs(tmp_path)) as engine:
            told = told_by(engine)
            ask(engine)
            settle(engine)
            key = Namespace(engine.info.fingerprint).key
            translator = StoreTranslator(config.block_size, key)
            names = [name for event in told for each in translator(event) for name in each.hashes]
            whole = pack_tokens(PROMPTS[0][:WHOLE])
            assert names == BlockHasher(config.block_size).prompt(key, whole).tolist()
            assert told[0].until == (WHOLE if again else 0), "the first of them is the look-up's answer"


def told_by(engine: Engine) -> list[StoreAnswered]:
    """What it tells of its stores from now on."""
    told: list[StoreAnswered] = []

    def sink(event: Event) -> None:
        if isinstance(event, StoreAnswered):
            told.append(event)

    engine.subscribe(sink)
    return told


def test_a_look_up_says_how_far_a_prompt_is_there_slow_to_load_or_not() -> None:
    slow = Stored(8, Source.STORED_SHARED, MissReason.LOAD_SLOWER)
    query = Query(SPACE, TOKENS, PrivatePart(4, "ann"))
    assert store_found(query, Found(1, (Stored(4, Source.STORED_LOCAL), slow))) == StoreAnswered(
        SPACE.key, TOKENS, 0, 8, "ann", 4
    )
    of_others = Stored(4, Source.STORED_LOCAL, MissReason.STORED_OTHER_IDENTITY)
    assert store_found(query, Found(1, (of_others,))).until == 0


def test_a_load_that_found_nothing_says_so_of_the_rest_and_one_that_was_too_slow_does_not() -> None:
    load = LoadBlocks(Namespace(MODEL), None, TOKENS, 4, BLOCKS, (Stored(12, Source.STORED_LOCAL),))
    lost, slow = (store_moved(Loaded(load, 8, why)) for why in (MissReason.LOAD_FAILED, MissReason.LOAD_SLOWER))
    assert (lost.start, lost.until, lost.tokens) == (4, 8, TOKENS)
    assert (slow.start, slow.until, slow.tokens) == (4, 8, TOKENS[:32])


def test_what_a_store_did_not_take_says_nothing_of_what_it_has() -> None:
    store = StoreBlocks(Namespace(MODEL), None, TOKENS, 4, BLOCKS)
    told = store_moved(PutAway(store, 8))
    assert (told.start, told.until, told.tokens) == (4, 8, TOKENS[:32])
