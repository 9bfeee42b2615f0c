"""Fixtures: tiny models on disk, and engines that load each of them once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.models import models_loaded_once
from foreword.engine import LLM
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


@pytest.fixture(scope="session", autouse=True)
def load_once() -> Iterator[None]:
    with models_loaded_once():
        yield


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The fastest for tiny models; tests of bits set the number themselves."""
    torch.set_num_threads(1)


@pytest.fixture
def make_llm(model_dir: Callable[..., str]) -> Callable[..., LLM]:
    """An LLM with a tiny Llama and room for 170 blocks."""

    def make(**options: object) -> LLM:
        options = {"kv_cache_memory_bytes": 2**21, "max_num_seqs": 8, "self_test": False, **options}
        return LLM(model_dir("llama"), **options)

    return make
