"""What is wrong with the options of stores is said before a model is loaded."""

from pathlib import Path
from typing import NoReturn

import pytest

from foreword.engine import EngineConfig
from foreword.engine.build import make_parts
from foreword.errors import ConfigError


def test_a_model_is_not_loaded_for_stores_that_cannot_be(tmp_path: Path) -> None:
    def load(*_: object) -> NoReturn:
        raise AssertionError("a model is loaded")

    short = tmp_path / "key"
    short.write_text("abcd")
    with pytest.raises(ConfigError, match="is no URL"):
        make_parts(EngineConfig(shared_store="valkey://host:port"), load)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        make_parts(EngineConfig(store=str(tmp_path / "store"), store_key_file=str(short)), load)
    assert not (tmp_path / "store").exists()


def test_a_store_may_lie_in_ones_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    parts = make_parts(EngineConfig(store="~/kv", kv_cache_memory_bytes=2**24))
    assert parts.tier is not None
    parts.tier.close(5.0)
    assert (tmp_path / "kv" / "index.sqlite3").exists()
