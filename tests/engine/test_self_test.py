"""The start-up self-test: passes here, with every kind of layer and memory, and sees a kernel that depends on neighbours."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from foreword.backends.cpu.attention import LayerCall, ReferenceAttention, TiledAttention
from foreword.backends.cpu.attention.tiles import Plan
from foreword.backends.cpu.kv_memory import KV_DTYPES, KVMemory
from foreword.backends.cpu.packed_linear import Int8Linear, PackedLinear
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.self_test import run_self_test


@pytest.fixture
def load(model_dir: Callable[..., str]) -> Callable[..., LoadedModel]:
    def load(family: str = "llama", quantization: str = "none", kv_dtype: str = "float32", **options: Any) -> LoadedModel:
        return load_model(model_dir(family, **options), 16, quantization, kv_dtype)

    return load


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_passes_here(load: Callable[..., LoadedModel], quantization: str, kv_dtype: str, threads: int) -> None:
    torch.set_num_threads(threads)
    result = run_self_test(load(quantization=quantization, kv_dtype=kv_dtype), TiledAttention())
    assert result.passed, result.message
    assert "do not depend on batch or chunks" in result.message


@pytest.mark.parametrize("family", ["gemma2", "qwen2"])
def test_passes_here_with_windows_and_soft_caps(load: Callable[..., LoadedModel], family: str) -> None:
    result = run_self_test(load(family), TiledAttention())
    assert result.passed, result.message


@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("least", [2, 9, 40])
def test_sees_a_linear_layer_that_depends_on_the_number_of_rows(
    load: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch, quantization: str, least: int
) -> None:
    """As if the library took another kernel from some number of rows on."""
    model = load(quantization=quantization)
    kind = Int8Linear if quantization == "int8" else PackedLinear
    forward: Any = kind.forward

    def leaky(self: Any, rows: torch.Tensor) -> torch.Tensor:
        return forward(self, rows) + (1e-6 if self.in_features == 96 and len(rows) >= least else 0.0)

    monkeypatch.setattr(kind, "forward", leaky)
    result = run_self_test(model, TiledAttention())
    assert result.failures == ("linear layer 96 to 64",)
    assert "linear layer 96 to 64" in result.message
    assert "within rounding" in result.message


class DependsOnRows(TiledAttention):
    def attend(self, prepared: Plan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        return super().attend(prepared, memory, call, query) + 1e-6 * query.shape[1]


class DependsOnRowsBehindAWindow(TiledAttention):
    def attend(self, prepared: Plan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        return out if call.window is None else out + 1e-6 * query.shape[1]


class DependsOnTheDtype(TiledAttention):
    def attend(self, prepared: Plan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        return out if memory.keys[0].dtype is torch.float32 else out + 1e-6 * query.shape[1]


class DependsOnTheHeads(TiledAttention):
    """Four query heads on one key head take another path."""

    def attend(self, prepared: Plan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        return out + 1e-6 * query.shape[1] if len(query) == 4 * len(memory.keys[0]) else out


@pytest.mark.parametrize(
    ("backend", "options", "failure"),
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
    load: Callable[..., LoadedModel], backend: type[TiledAttention], options: dict[str, Any], failure: str | None
) -> None:
    """In just the case that the model at hand is."""
    assert run_self_test(load(**options), backend()).failures == ((failure,) if failure else ())


def test_says_that_the_reference_is_not_bit_identical(load: Callable[..., LoadedModel]) -> None:
    assert run_self_test(load(), ReferenceAttention()).failures
