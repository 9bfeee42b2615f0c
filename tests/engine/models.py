"""Tiny models, loaded: for a backend by itself, and once for all engines."""

from pathlib import Path
from typing import Any

import torch

from foreword.backends.base import Backend
from foreword.backends.registry import make_backend
from foreword.engine.model import LoadedModel, load_model
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.safetensors import SafetensorsCheckpoint

_kept: dict[tuple[object, ...], LoadedModel] = {}


def load(path: str | Path, quantization: str = "none", kv_dtype: str = "float32", backend: str = "cpu") -> LoadedModel:
    """A model for a backend, with blocks of 16 tokens."""
    return load_model(SafetensorsCheckpoint(str(path)), make_backend(backend, 16, kv_dtype, quantization))


def load_once(checkpoint: Checkpoint, backend: Backend[Any]) -> LoadedModel:
    """As load_model. Engines with equal options and number of threads share a model: tests do not change its weights."""
    options = backend.options
    told = options.name, options.quantization, options.activation_bits, options.kv_dtype, options.kernel_path
    key = torch.get_num_threads(), checkpoint.name, *told
    if key not in _kept:
        _kept[key] = load_model(checkpoint, backend)
    return _kept[key]
