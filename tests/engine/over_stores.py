"""Engines over stores of KV: one prompt after another, and what an engine without a store answers to them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.making import add, finish, make
from foreword.account import Source
from foreword.cache import ModelFingerprint
from foreword.engine import Engine, EngineConfig, RequestOutput, SamplingParams
from foreword.engine.open_stores import TierOpener
from foreword.engine.tier_state import StoreState
from foreword.engine.tiering import Tiering, TierStore
from foreword.tiers import BlockStore, Identity, TenantKeys
from foreword.tiers.opening import open_packs
from foreword.tiers.pack_options import PackOptions

BEGINNING = [2 + 7 * at % 300 for at in range(100)]
PROMPTS = [[*BEGINNING, *(2 + (11 * at + number) % 300 for at in range(29))] for number in range(3)]
WHOLE = 128
"""Tokens of the first prompt that a store can bring: all but the last one, which is computed."""
GREEDY = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
OPTIONS = PackOptions(min_free_bytes=0)
Opener = Callable[[Identity], BlockStore]


def packs(path: Path, tenants: TenantKeys | None = None) -> Opener:
    return lambda identity: open_packs(path, identity, OPTIONS, tenants)


def over(*openers: Opener, tenants: TenantKeys | None = None) -> TierOpener:
    """The tiers that an engine has of these stores."""

    def open_tier(
        config: EngineConfig, fingerprint: ModelFingerprint, pieces: Callable[..., Sequence[memoryview]], num_blocks: int
    ) -> Tiering:
        sources = (Source.STORED_LOCAL, Source.STORED_SHARED)
        identity = Identity.of(fingerprint)
        stores = [TierStore(source, opener(identity)) for source, opener in zip(sources, openers, strict=False)]
        return Tiering(stores, pieces, config.block_size, num_blocks, tenants, idle_seconds=0.05)

    return open_tier


@contextmanager
def engine_over(config: EngineConfig, *openers: Opener, tenants: TenantKeys | None = None) -> Iterator[Engine]:
    """An engine over stores, which ends in order; then no block is held."""
    engine = make(config, open_tier=over(*openers, tenants=tenants)).engine
    yield engine
    settle(engine)
    engine.close(20.0)


def settle(engine: Engine) -> None:
    """Wait until all that is being stored has been, or has been given back; then nothing is held."""
    until = time.monotonic() + 60
    while engine.usage().held_blocks:
        assert time.monotonic() < until, "blocks are held"
        engine.step()
        time.sleep(0.005)
    engine.check_integrity()


def ask(engine: Engine, number: int = 0, **more: object) -> RequestOutput:
    name = add(engine, PROMPTS[number], GREEDY, **more)
    return finish(engine)[name]


def ask_all(engine: Engine) -> list[RequestOutput]:
    return [ask(engine, number) for number in range(len(PROMPTS))]


def said(outputs: Sequence[RequestOutput]) -> list[list[int]]:
    return [output.outputs[0].token_ids for output in outputs]


def store_of(engine: Engine, at: int = 0) -> StoreState:
    state = engine.tier_state()
    assert state is not None
    return state.stores[at]


def eventually(true: Callable[[], bool]) -> None:
    """Stores are asked for their figures some times a second here."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
