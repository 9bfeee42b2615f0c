"""Options: what is not of a field's type is refused by name, in every config."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreword.audit.config import AuditConfig
from foreword.cache import CacheConfig
from foreword.engine.config import EngineConfig
from foreword.errors import ConfigError
from foreword.observe import ObserverConfig
from foreword.replay.config import ReplayConfig
from foreword.sched import SchedulerConfig
from foreword.serving.config import ServerConfig

CONFIGS = (AuditConfig, CacheConfig, EngineConfig, ObserverConfig, ReplayConfig, SchedulerConfig, ServerConfig)
FIELDS = [(kind, field.name) for kind in CONFIGS for field in dataclasses.fields(kind)]


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda each: getattr(each, "__name__", each))
def test_what_is_of_no_type_is_refused(kind: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is .*; it must be"):
        kind(**{name: object()})


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (EngineConfig, {"enable_prefix_caching": "false"}, "enable_prefix_caching is 'false'; it must be True or False."),
        (EngineConfig, {"kv_cache_memory_bytes": 1e9}, "must be a whole number or None."),
        (EngineConfig, {"max_num_seqs": True}, "max_num_seqs is True; it must be a whole number."),
        (EngineConfig, {"verify_cache": "1"}, "verify_cache is '1'; it must be a number."),
        (EngineConfig, {"block_size": None}, "block_size is None; it must be a whole number."),
        (ServerConfig, {"operators": "alice"}, "operators is 'alice'; it must be a tuple, and each of it a text."),
        (ServerConfig, {"operators": ("alice", 5)}, "it must be a tuple, and each of it a text."),
        (ServerConfig, {"port": "8000"}, "port is '8000'; it must be a whole number."),
    ],
)
def test_the_message_names_the_value_and_what_is_wanted(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**given)
    assert str(caught.value).endswith(message)


def test_what_stands_for_a_type_is_taken() -> None:
    given: dict[str, Any] = {
        "model": Path("m"),
        "block_size": np.int64(8),
        "ghost_ratio": 2,
        "max_wait_seconds": np.float32(1),
    }
    assert {name: getattr(EngineConfig(**given), name) for name in given} == given
    names: Any = ["alice"]
    assert ServerConfig(operators=names).operators == names
