"""What another model, machine, option, tenant or salt has stored is a miss with a reason, and none of it is read."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.making import add, finish, make
from engine.over_stores import (
    GREEDY,
    OPTIONS,
    PROMPTS,
    WHOLE,
    Opener,
    ask,
    ask_all,
    engine_over,
    over,
    packs,
    said,
    settle,
    store_of,
)
from foreword.account import MissReason
from foreword.cache import ModelFingerprint
from foreword.engine import EngineConfig
from foreword.tiers import Identity, TenantKeys
from foreword.tiers.opening import open_packs, open_shared

KEYS = TenantKeys(bytes(range(32)))
FIELDS = [name for name in ModelFingerprint.__dataclass_fields__ if name != "block_size"]


@pytest.mark.parametrize("field", FIELDS)
def test_what_another_model_or_machine_stored_is_a_clean_miss(
    config: EngineConfig, truth: list[list[int]], folder: Path, field: str
) -> None:
    """An engine whose fingerprint differs in one field, under its own names, and even under those of the other one."""
    changed: dict[str, Any] = {field: "another"}
    other = replace(make(config).parts.info.fingerprint, **changed)
    parts = make(config, open_tier=over(lambda _: open_packs(folder, Identity.of(other), OPTIONS, None))).parts
    engine = replace(parts, info=replace(parts.info, fingerprint=other)).engine()
    outputs = ask_all(engine)
    assert said(outputs) == truth
    assert (outputs[0].account.stored, outputs[0].miss_reason) == (0, MissReason.STORED_OTHER_IDENTITY)
    settle(engine)
    engine.close(20.0)
    with engine_over(config, lambda _: open_packs(folder, Identity.of(other), OPTIONS, None)) as under_its_names:
        outputs = ask_all(under_its_names)
        assert said(outputs) == truth
        assert (outputs[0].account.stored, outputs[0].miss_reason) == (0, MissReason.STORED_OTHER_IDENTITY)
        assert store_of(under_its_names).lost_loads == {MissReason.STORED_OTHER_IDENTITY: 3}


@pytest.fixture(scope="module")
def shared(config: EngineConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared folder in which engines with a key and without have left all prompts."""
    path = tmp_path_factory.mktemp("shared")
    for tenants in (None, KEYS):
        with engine_over(config, sharing(path, tenants), tenants=tenants) as engine:
            ask_all(engine)
    return path


def sharing(path: Path, tenants: TenantKeys | None) -> Opener:
    return lambda identity: open_shared(f"file://{path}", identity, tenants)


@pytest.mark.parametrize(("field", "tenants"), [*((field, None) for field in FIELDS), ("weights", KEYS)])
def test_a_shared_store_names_what_another_model_or_machine_stored(
    config: EngineConfig, truth: list[list[int]], shared: Path, tmp_path: Path, field: str, tenants: TenantKeys | None
) -> None:
    changed: dict[str, Any] = {field: f"another, {tenants is None}"}
    other = replace(make(config).parts.info.fingerprint, **changed)
    open_other = sharing(Path(shutil.copytree(shared, tmp_path / "shared")), tenants)
    parts = make(config, open_tier=over(lambda _: open_other(Identity.of(other)), tenants=tenants)).parts
    engine = replace(parts, info=replace(parts.info, fingerprint=other)).engine()
    output = ask(engine)
    assert said([output]) == truth[:1]
    assert (output.account.stored, output.miss_reason) == (0, MissReason.STORED_OTHER_IDENTITY)
    unlike = add(engine, [*PROMPTS[0][1:], 1], GREEDY)
    assert finish(engine)[unlike].miss_reason is MissReason.FIRST_SEEN, "of another prompt it has nothing"
    engine.close(0.0)


@pytest.mark.parametrize(
    "changed", [{"kv_dtype": "bfloat16"}, {"kv_dtype": "int8"}, {"quantization": "int8"}, {"block_size": 32}]
)
def test_what_an_engine_of_other_options_stored_is_a_clean_miss(
    config: EngineConfig, folder: Path, changed: dict[str, Any]
) -> None:
    other = replace(config, **changed)
    truth = said(ask_all(make(other).engine))
    with engine_over(other, packs(folder)) as engine:
        outputs = ask_all(engine)
        assert said(outputs) == truth
        assert (outputs[0].account.stored, outputs[0].miss_reason) == (0, MissReason.STORED_OTHER_IDENTITY)


@pytest.mark.parametrize("whose", [{"tenant": "bob"}, {"tenant": None}, {"tenant": "alice", "cache_salt": "salt"}])
def test_what_is_anothers_is_a_clean_miss(
    config: EngineConfig, truth: list[list[int]], tmp_path: Path, whose: dict[str, Any]
) -> None:
    with engine_over(config, packs(tmp_path)) as engine:
        ask(engine, tenant="alice")
    with engine_over(config, packs(tmp_path)) as engine:
        output = ask(engine, **whose)
        assert said([output]) == truth[:1]
        assert (output.account.stored, output.miss_reason) == (0, MissReason.FIRST_SEEN)
        assert ask(engine, tenant="alice").account.stored == WHOLE
