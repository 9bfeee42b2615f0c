"""Packing a model's linear layers: all are replaced, those that read the same rows are one, blocks stay as stored."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from backends.cpu.formats.layers import some
from engine.models import load
from engine.recording import RecordingEngine
from foreword.backends.cpu.formats import QUANTIZATIONS
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.packed_linear import LinearPacker, PackedLinear
from foreword.errors import ModelError


class Stored:
    """A WeightSource of tensors in blocks: here those of float32 itself, in panels of another weight."""

    def __init__(
        self,
        formats: Mapping[str, str] | None = None,
        blocks: Mapping[str, torch.Tensor] | None = None,
        numbers: Mapping[str, torch.Tensor] | None = None,
    ):
        self.formats, self.tensors, self.numbers = formats or {}, blocks or {}, numbers or {}

    def block_formats(self) -> Mapping[str, str]:
        return self.formats

    def blocks(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def tensor(self, name: str) -> torch.Tensor | None:
        return self.numbers.get(name)

    def release_pages(self) -> None:
        pass


def pack(model: nn.Module, quantization: str = "none", source: Stored | None = None) -> int:
    """Pack all linear layers; how many there are then."""
    return len(list(LinearPacker(model, quantization, source or Stored(), best_target()).pack_all(model)))


WEIGHTS = 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96) + 64 * 320
"""Of the tiny Llama's linear layers, the head among them."""


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_linear_layer_of_a_model_is_replaced(model_dir: Callable[..., str], quantization: str) -> None:
    loaded = load(model_dir("llama"), quantization)
    layers = [module for module in loaded.module.modules() if isinstance(module, PackedLinear | nn.Linear)]
    assert {type(layer) for layer in layers} == {PackedLinear}
    assert sum(layer.in_features * layer.out_features for layer in layers) == WEIGHTS


def test_a_model_in_int8_is_near_to_the_model(model_dir: Callable[..., str]) -> None:
    logits = []
    for quantization in ("none", "int8"):
        engine = RecordingEngine(model_dir("llama"), quantization=quantization, kv_cache_memory_bytes=2**20)
        (trace,) = engine.run(list(range(2, 90)), prompt_logprobs=0, max_tokens=1)
        logits.append(torch.stack(list(trace.logits.values())))
    one, other = logits
    assert len(one) == 88
    assert bool((torch.cosine_similarity(one, other) > 0.95).all())
    assert not torch.equal(one, other)


class Attention(nn.Module):
    """Layers that read the same rows, as transformers names them."""

    def __init__(self, bias: tuple[bool, bool, bool], inside: tuple[int, int, int] = (64, 64, 64)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(count, size, bias=has) for count, size, has in zip(inside, (64, 32, 32), bias, strict=True)
        )
        self.o_proj = nn.Linear(64, 64)

    def all(self, rows: torch.Tensor) -> list[torch.Tensor]:
        return [layer(rows) for layer in (self.q_proj, self.k_proj, self.v_proj, self.o_proj)]


@pytest.mark.parametrize(("bias", "joined"), [((False,) * 3, True), ((True,) * 3, True), ((True, False, True), False)])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_layers_that_read_the_same_rows_give_what_they_gave_apart(
    bias: tuple[bool, bool, bool], joined: bool, rows: int
) -> None:
    module = Attention(bias)
    given = some(rows, 64)
    expected = module.all(given)
    assert pack(module) == (2 if joined else 4)
    packed = [layer for layer in module.modules() if isinstance(layer, PackedLinear)]
    assert len(packed) == (2 if joined else 4)
    with torch.inference_mode():
        for _ in range(2):
            for out, plain in zip(module.all(given), expected, strict=True):
                torch.testing.assert_close(out, plain, rtol=0, atol=1e-5)


def test_joined_layers_never_give_the_outputs_of_other_rows() -> None:
    """Whatever is called how often and in which order, and if a computation was broken off."""
    module = Attention((True, True, True))
    one, other = some(5, 64), some(6, 64)
    plain = {id(rows): module.all(rows)[:3] for rows in (one, other)}
    pack(module)
    layers, rng = [module.q_proj, module.k_proj, module.v_proj], random.Random(0)
    with torch.inference_mode():
        for _ in range(200):
            index, rows = rng.randrange(3), rng.choice([one, other])
            torch.testing.assert_close(layers[index](rows), plain[id(rows)][index], rtol=0, atol=1e-5)
        with pytest.raises(RuntimeError):
            module.q_proj(some(5, 63))
        torch.testing.assert_close(module.k_proj(one), plain[id(one)][1], rtol=0, atol=1e-5)


def test_layers_that_cannot_be_joined_stay_apart() -> None:
    module = Attention((False,) * 3, inside=(64, 32, 32))
    pack(module)
    assert [module.q_proj.in_features, module.k_proj.in_features] == [64, 32]


def test_a_subclass_of_linear_is_left_alone() -> None:
    class Special(nn.Linear):
        pass

    model = nn.ModuleDict(
        {"a": nn.Linear(64, 32), "b": Special(64, 32), "c": nn.ModuleList([nn.Linear(64, 32, bias=False)])}
    )
    assert pack(model) == 2
    assert type(model["b"]) is Special


def test_blocks_are_packed_in_the_format_they_are_stored_in() -> None:
    """Here with a tensor in place of blocks, for the formats at hand are made from floats."""
    model: Any = nn.ModuleDict({"a": nn.Linear(64, 32), "b": nn.Linear(64, 32)})
    stored = some(32, 64, seed=4)
    pack(model, "none", Stored({"a.weight": "int8"}, {"a.weight": stored}))
    assert [model[name].format.name for name in "ab"] == ["int8", "float32"]
    rows = some(3, 64)
    expected = rows @ stored.T + model["a"].bias
    torch.testing.assert_close(model["a"](rows), expected, rtol=0, atol=0.05 * float(expected.abs().max()))


def test_layers_that_are_stored_in_different_formats_stay_apart() -> None:
    stored = some(32, 64)
    module: Any = Attention((False,) * 3)
    assert pack(module, "none", Stored({"v_proj.weight": "int8"}, {"v_proj.weight": stored})) == 4
    assert module.v_proj.format.name == "int8"


def test_blocks_without_kernels_are_brought_to_int8_and_what_is_asked_for_goes_first() -> None:
    for asked, made in (("none", "int8"), ("float32", "float32")):
        model: Any = nn.ModuleDict({"a": nn.Linear(64, 32)})
        pack(model, asked, Stored({"a.weight": "q9"}))
        assert model["a"].format.name == made


def test_a_weight_that_stays_in_the_files_is_read_when_it_is_packed() -> None:
    stored = some(32, 64)
    model: Any = nn.ModuleDict({"a": nn.Linear(64, 32, bias=False, device="meta")})
    pack(model, "none", Stored(numbers={"a.weight": stored}))
    rows = some(3, 64)
    torch.testing.assert_close(model["a"](rows), rows @ stored.T)
    with pytest.raises(ModelError, match=r"no tensor 'a\.weight'"):
        pack(nn.ModuleDict({"a": nn.Linear(64, 32, device="meta")}))
