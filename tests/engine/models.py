"""Engines that load each tiny model once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from foreword.backends.base import Backend
from foreword.backends.registry import make_backend
from foreword.engine import engine
from foreword.engine.model import LoadedModel, load_model
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.safetensors import SafetensorsCheckpoint


def load(path: str | Path, quantization: str = "none", kv_dtype: str = "float32", backend: str = "cpu") -> LoadedModel:
    """A model for a backend, with blocks of 16 tokens."""
    return load_model(SafetensorsCheckpoint(str(path)), make_backend(backend, 16, kv_dtype, quantization))


@contextmanager
def models_loaded_once() -> Iterator[None]:
    """Engines with the same options of loading and number of threads share a model. Tests do not change its weights."""
    kept: dict[tuple[object, ...], LoadedModel] = {}

    def loaded(checkpoint: Checkpoint, backend: Backend[Any]) -> LoadedModel:
        options = backend.options
        key = torch.get_num_threads(), checkpoint.name, options.name, options.quantization, options.kv_dtype
        if key not in kept:
            kept[key] = load_model(checkpoint, backend)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_model", loaded)
        yield
