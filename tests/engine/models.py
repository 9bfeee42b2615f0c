"""Engines that load each tiny model once."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from foreword.engine import engine, model


@contextmanager
def models_loaded_once() -> Iterator[None]:
    """Engines with the same options of loading and number of threads share a model. Tests do not change its weights."""
    loaded = functools.lru_cache(lambda _threads, *options: model.load_model(*options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_model", lambda *options: loaded(torch.get_num_threads(), *options))
        yield
