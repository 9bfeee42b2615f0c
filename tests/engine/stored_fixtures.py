"""Fixtures: options of an engine over stores, what it answers without them, and a folder that such an engine has left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.making import make
from engine.over_stores import ask_all, engine_over, packs, said
from foreword.engine import EngineConfig
from foreword.engine.load_rule import LEAST_TOKENS


@pytest.fixture(scope="module")
def config(model_dir: Callable[..., str]) -> EngineConfig:
    torch.set_num_threads(1)
    """Steps are so short that no rate of computing is measured: nothing depends on how quick the machine is."""
    memory, step = 2**21, LEAST_TOKENS - 16
    return EngineConfig(
        model=model_dir("llama"), kv_cache_memory_bytes=memory, max_num_batched_tokens=step, max_num_seqs=8, self_test=False
    )


@pytest.fixture(scope="module")
def truth(config: EngineConfig) -> list[list[int]]:
    """What an engine without a store answers."""
    return said(ask_all(make(config).engine))


@pytest.fixture(scope="module")
def left_behind(config: EngineConfig, truth: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packs in which an engine has left all prompts."""
    path = tmp_path_factory.mktemp("left") / "packs"
    with engine_over(config, packs(path)) as engine:
        assert said(ask_all(engine)) == truth
    return path


@pytest.fixture
def folder(left_behind: Path, tmp_path: Path) -> Path:
    """A copy of that, to be maltreated."""
    return Path(shutil.copytree(left_behind, tmp_path / "packs"))
