"""Fixtures: tiny models on disk, and engines that load each of them once."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning at barriers costs 50 times on a busy machine

import pytest
import torch

from engine.models import write_model
from foreword.engine import LLM, engine, model


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
    """Engines with the same options of loading and number of threads share a model. Tests do not change its weights."""
    loaded = functools.lru_cache(lambda _threads, *options: model.load_model(*options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_model", lambda *options: loaded(torch.get_num_threads(), *options))
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
