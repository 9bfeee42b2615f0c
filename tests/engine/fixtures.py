"""Fixtures: tiny models on disk, and engines that load each of them once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.making import Made, make
from foreword.engine import LLM, EngineConfig
from foreword.engine.llm import LLMOverEngine
from foreword.testing.tiny_models import write_model


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Directory of a tiny model of a family; written once a session."""
    written: dict[tuple[object, ...], Path] = {}

    def get(family: str = "llama", **options: object) -> str:
        key = (family, *sorted(options.items()))
        if key not in written:
            written[key] = write_model(tmp_path_factory.mktemp(family), family, **options)
        return str(written[key])

    return get


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The fastest for tiny models; tests of bits set the number themselves."""
    torch.set_num_threads(1)


@pytest.fixture
def make_engine(model_dir: Callable[..., str]) -> Callable[..., Made]:
    """An engine with a tiny Llama and room for 170 blocks."""

    def made(**options: Any) -> Made:
        options = {"kv_cache_memory_bytes": 2**21, "max_num_seqs": 8, "self_test": False, **options}
        return make(EngineConfig(**{"model": model_dir("llama"), **options}))

    return made


@pytest.fixture
def make_llm(make_engine: Callable[..., Made]) -> Callable[..., LLM]:
    """An LLM over such an engine."""
    return lambda **options: LLMOverEngine(make_engine(**options).engine)
