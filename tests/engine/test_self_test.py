"""The start-up self-test: passes here, is quick, and sees a kernel that depends on its neighbours."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from foreword.engine.attention import LayerCall, TiledAttention
from foreword.engine.attention.tiled import TilePlan
from foreword.engine.memory import KVMemory
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.self_test import run_self_test


@pytest.fixture
def loaded(model_dir: Callable[..., str]) -> LoadedModel:
    return load_model(model_dir("llama"), 16)


@pytest.mark.parametrize("threads", [1, 2])
def test_passes_here(loaded: LoadedModel, threads: int) -> None:
    torch.set_num_threads(threads)
    result = run_self_test(loaded, TiledAttention())
    assert result.passed, result.message
    assert "do not depend on batch or chunks" in result.message


def test_sees_a_linear_layer_that_depends_on_the_number_of_rows(loaded: LoadedModel) -> None:
    class Leaky(torch.nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return super().forward(rows) + 1e-6 * len(rows)

    model = dataclasses.replace(loaded, module=torch.nn.Sequential(Leaky(8, 24)))
    result = run_self_test(model, TiledAttention())
    assert result.failures == ("linear layer 8 to 24",)
    assert "linear layer 8 to 24" in result.message
    assert "within rounding" in result.message


def test_sees_attention_that_depends_on_its_neighbours(loaded: LoadedModel) -> None:
    class Leaky(TiledAttention):
        def attend(self, prepared: TilePlan, memory: KVMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
            return super().attend(prepared, memory, call, query) + 1e-6 * query.shape[1]

    result = run_self_test(loaded, Leaky())
    assert result.failures == ("attention tiled with 2 key heads of 16",)
