"""The start-up self-test: passes here, with every kind of layer and memory, and sees a kernel that depends on neighbours."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from foreword.backends.base import BackendOptions, LayerCall, LinearLayer
from foreword.backends.cpu.attention.tiled import TiledAttention
from foreword.backends.cpu.attention.tiles import Plan
from foreword.backends.cpu.backend import CpuBackend
from foreword.backends.cpu.formats import QUANTIZATIONS
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.kv_memory import PanelMemory
from foreword.backends.registry import KV_DTYPES, make_backend
from foreword.engine.model import load_model
from foreword.engine.self_test import SelfTest, run_self_test
from foreword.weights.safetensors import SafetensorsCheckpoint

Tested = Callable[..., SelfTest]


@pytest.fixture
def tested(model_dir: Callable[..., str]) -> Tested:
    """The self-test of a backend with a tiny model."""

    def run(backend: Any, family: str = "llama", **options: Any) -> SelfTest:
        return run_self_test(load_model(SafetensorsCheckpoint(model_dir(family, **options)), backend), backend)

    return run


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_passes_here(tested: Tested, quantization: str, kv_dtype: str, threads: int) -> None:
    torch.set_num_threads(threads)
    result = tested(make_backend("cpu", 16, kv_dtype, quantization))
    assert result.passed, result.message
    assert "do not depend on batch or chunks" in result.message


@pytest.mark.parametrize("family", ["gemma2", "qwen2"])
def test_passes_here_with_windows_and_soft_caps(tested: Tested, family: str) -> None:
    result = tested(make_backend("cpu", 16), family)
    assert result.passed, result.message


class Leaky(torch.nn.Module):
    """A linear layer that takes another path from some number of rows on."""

    def __init__(self, layer: torch.nn.Module, least: int):
        super().__init__()
        self.layer, self.least = layer, least

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(rows)
        return out + (1e-6 if len(rows) >= self.least else 0.0)


class LeakyBackend(CpuBackend):
    """Its layers of 96 inputs are leaky."""

    def __init__(self, quantization: str, least: int):
        super().__init__(BackendOptions("cpu", quantization=quantization))
        self.least = least

    def linear_layers(self, module: torch.nn.Module) -> list[LinearLayer]:
        return [
            replace(layer, module=Leaky(layer.module, self.least)) if layer.in_features == 96 else layer
            for layer in super().linear_layers(module)
        ]


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("least", [2, 9, 40])
def test_sees_a_linear_layer_that_depends_on_the_number_of_rows(tested: Tested, quantization: str, least: int) -> None:
    """As if the library took another kernel from some number of rows on."""
    result = tested(LeakyBackend(quantization, least))
    assert result.failures == ("linear layer 96 to 64",)
    assert "linear layer 96 to 64" in result.message
    assert "within rounding" in result.message


PER_ROW = 1e-8
"""Far within what a model may be off by when it is loaded, and still another bit of what attention gives."""


class DependsOnRows(TiledAttention):
    def attend(self, prepared: Plan, memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        return super().attend(prepared, memory, call, query) + PER_ROW * query.shape[1]


class DependsOnRowsBehindAWindow(TiledAttention):
    def attend(self, prepared: Plan, memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        return out if call.window is None else out + PER_ROW * query.shape[1]


class DependsOnTheDtype(TiledAttention):
    def attend(self, prepared: Plan, memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        return out if memory.keys[0].dtype is torch.float32 else out + PER_ROW * query.shape[1]


class DependsOnTheHeads(TiledAttention):
    """Four query heads on one key head take another path."""

    def attend(self, prepared: Plan, memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        return out + PER_ROW * query.shape[1] if len(query) == 4 * len(memory.keys[0]) else out


@pytest.mark.parametrize(
    ("attention", "options", "failure"),
    [
        (DependsOnRows, {}, "attention tiled with 4 heads on 2 key heads of 16, KV in float32"),
        (DependsOnRowsBehindAWindow, {}, None),
        (
            DependsOnRowsBehindAWindow,
            {"family": "mistral"},
            "attention tiled with 4 heads on 2 key heads of 16, KV in float32",
        ),
        (DependsOnTheDtype, {}, None),
        (
            DependsOnTheDtype,
            {"kv_dtype": "bfloat16"},
            "attention tiled with 4 heads on 2 key heads of 16, KV in bfloat16",
        ),
        (DependsOnTheHeads, {}, None),
        (
            DependsOnTheHeads,
            {"num_key_value_heads": 1},
            "attention tiled with 4 heads on 1 key heads of 16, KV in float32",
        ),
    ],
)
def test_sees_attention_that_depends_on_its_neighbours(
    tested: Tested, attention: type[TiledAttention], options: dict[str, Any], failure: str | None
) -> None:
    """In just the case that the model at hand is."""
    kv_dtype = options.get("kv_dtype", "float32")
    backend = CpuBackend(BackendOptions("cpu", kv_dtype=kv_dtype))
    backend.attention = attention(best_target())
    result = tested(backend, **{name: value for name, value in options.items() if name != "kv_dtype"})
    assert result.failures == ((failure,) if failure else ())


def test_says_that_the_reference_is_not_bit_identical(tested: Tested) -> None:
    assert tested(make_backend("reference", 16)).failures
