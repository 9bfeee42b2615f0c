"""Linear layers: near to the plain ones, and a row's bits are its own."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

from engine.recording import RecordingEngine
from foreword.backends.cpu.kernels.int8 import LARGEST
from foreword.backends.cpu.packed_linear import Int8Linear, PackedLinear, pack_linear_layers
from foreword.engine.model import load_model

KINDS = (PackedLinear, Int8Linear)
SHAPES = [(64, 96), (192, 512), (256, 32)]
"""in, out"""
Layer = PackedLinear | Int8Linear


def make(kind: type[Layer], inside: int, outside: int, bias: bool = True) -> tuple[Layer, torch.Tensor, torch.Tensor]:
    """A layer of random numbers, its weights and its bias."""
    random_numbers = torch.Generator().manual_seed(inside + outside)
    weight = torch.randn(outside, inside, generator=random_numbers)
    offset = torch.randn(outside, generator=random_numbers)
    return kind(weight, offset if bias else None), weight, offset if bias else torch.zeros(outside)


def some(rows: int, inside: int) -> torch.Tensor:
    return torch.randn(rows, inside, generator=torch.Generator().manual_seed(rows))


def rounding(layer: Int8Linear, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The most that rounding to whole steps of each scale can move each result: half a step of every factor."""
    weights = layer.scales.double()[None, :] / 2
    numbers = rows.double().abs().amax(1, keepdim=True) / LARGEST / 2
    inside = rows.shape[1]
    return (
        rows.double().abs().sum(1, keepdim=True) * weights
        + numbers * weight.double().abs().sum(1)
        + inside * numbers * weights
    )


@pytest.mark.parametrize(("inside", "outside"), SHAPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_packed_is_the_plain_layer(inside: int, outside: int, bias: bool, count: int) -> None:
    layer, weight, offset = make(PackedLinear, inside, outside, bias)
    rows = some(count, inside)
    expected = rows.double() @ weight.double().T + offset.double()
    torch.testing.assert_close(layer(rows).double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("inside", "outside"), SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_int8_is_off_by_no_more_than_its_rounding(inside: int, outside: int, bias: bool) -> None:
    """An upper bound for every single number, which small rows, large rows and rows with one outlier keep too."""
    layer, weight, offset = make(Int8Linear, inside, outside, bias)
    rows = some(40, inside)
    rows[1] *= 1e-20
    rows[2] *= 1e20
    rows[3, 5] = 1e4
    rows[4] = 0
    rows[5] = -3.5
    exact = rows.double() @ weight.double().T + offset.double()
    off = (layer(rows).double() - exact).abs()
    single = 1e-5 * (exact.abs() + offset.double().abs() + 1e-6)  # results are float32
    assert bool((off <= rounding(layer, weight, rows) + single).all())
    usual = off[6:].max() / exact[6:].abs().max()
    assert usual < 0.015, f"{usual:.3f} of the largest"


def test_int8_has_a_scale_for_each_channel() -> None:
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    rows = some(6, 64)
    layer = Int8Linear(weight, None)
    louder = weight.clone()
    louder[7] *= 1e6
    louder[8] = 0
    out = Int8Linear(louder, None)(rows)
    others = [channel for channel in range(48) if channel not in (7, 8)]
    assert torch.equal(out[:, others], layer(rows)[:, others])
    assert not out[:, 8].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("inside", "outside"), SHAPES)
def test_a_row_does_not_depend_on_the_others(kind: type[Layer], threads: int, inside: int, outside: int) -> None:
    """Whatever their number, their place, and their size."""
    torch.set_num_threads(threads)
    layer, _, _ = make(kind, inside, outside)
    rows = some(70, inside)
    whole = layer(rows)
    rng = random.Random(inside)
    for count in (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64):
        chosen = rng.sample(range(70), count)
        assert torch.equal(layer(rows[chosen]), whole[chosen]), f"{count} rows"
    louder = rows.clone()
    louder[::2] *= 1e4
    assert torch.equal(layer(louder)[1::2], whole[1::2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_stays_in_its_row(kind: type[Layer], broken: float) -> None:
    layer, _, _ = make(kind, 64, 96)
    rows = some(9, 64)
    whole = layer(rows)
    rows[4, 10] = broken
    out = layer(rows)
    others = [row for row in range(9) if row != 4]
    assert torch.equal(out[others], whole[others])
    assert not out[4].isfinite().all(), "the engine is to see that this row is broken"


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_zeros_gives_the_bias(kind: type[Layer]) -> None:
    layer, _, offset = make(kind, 64, 96)
    out = layer(torch.zeros(3, 64))
    assert torch.equal(out, offset.expand(3, -1))
    silent, _, _ = make(kind, 64, 96, bias=False)
    assert not silent(torch.zeros(1, 64)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_leading_dimensions_stay(kind: type[Layer]) -> None:
    layer, _, _ = make(kind, 64, 96)
    rows = some(12, 64)
    for shape in ((1, 12), (3, 4), (12, 1), (2, 3, 2)):
        assert torch.equal(layer(rows.view(*shape, 64)), layer(rows).view(*shape, 96))
    assert layer(rows[:1].view(1, 1, 64)).shape == (1, 1, 96)
    strided = some(12, 128)[:, ::2]
    assert torch.equal(layer(strided), layer(strided.contiguous()))


WEIGHTS = 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96) + 64 * 320
"""Of the tiny Llama's linear layers, the head among them."""


@pytest.mark.parametrize(("quantization", "kind"), [("none", PackedLinear), ("int8", Int8Linear)])
def test_every_linear_layer_of_a_model_is_replaced(
    model_dir: Callable[..., str], quantization: str, kind: type[Layer]
) -> None:
    loaded = load_model(model_dir("llama"), 16, quantization)
    layers = [module for module in loaded.module.modules() if isinstance(module, PackedLinear | Int8Linear | nn.Linear)]
    assert {type(layer) for layer in layers} == {kind}
    assert sum(layer.in_features * layer.out_features for layer in layers) == WEIGHTS
    assert loaded.fingerprint.quantization == quantization


def test_a_model_in_int8_is_near_to_the_model(model_dir: Callable[..., str]) -> None:
    logits = []
    for quantization in ("none", "int8"):
        engine = RecordingEngine(model_dir("llama"), quantization=quantization, kv_cache_memory_bytes=2**20)
        (trace,) = engine.run(list(range(2, 90)), prompt_logprobs=0, max_tokens=1)
        logits.append(torch.stack(list(trace.logits.values())))
    assert len(logits[0]) == 88
    assert bool((torch.cosine_similarity(*logits) > 0.95).all())
    assert not torch.equal(*logits)


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
    assert pack_linear_layers(module, "none") == 4
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
    pack_linear_layers(module, "none")
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
    pack_linear_layers(module, "none")
    assert [module.q_proj.in_features, module.k_proj.in_features] == [64, 32]


def test_a_subclass_of_linear_is_left_alone() -> None:
    class Special(nn.Linear):
        pass

    model = nn.ModuleDict(
        {"a": nn.Linear(64, 32), "b": Special(64, 32), "c": nn.ModuleList([nn.Linear(64, 32, bias=False)])}
    )
    assert pack_linear_layers(model, "none") == 2
    assert type(model["b"]) is Special
