"""One suite for all weight formats. A new format is a file beside the others, and is tested here without another line."""

import random
from typing import get_args

import pytest
import torch

from backends.cpu.formats.layers import SHAPES, make, product, some
from foreword.backends.cpu.formats import FORMATS, QUANTIZATIONS, weight_format
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.program import Program
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.packed_linear import LinearStack
from foreword.errors import ModelError

pytestmark = pytest.mark.parametrize("name", FORMATS)


def test_it_is_found_by_its_name(name: str) -> None:
    format = weight_format(name, best_target())
    assert format.name == name
    assert 0 < format.bits <= 32
    assert format.joins_at >= 1
    assert weight_format("none", best_target()).bits == 32
    assert name in QUANTIZATIONS or name == weight_format("none", best_target()).name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("inside", "outside"), SHAPES)
def test_a_row_does_not_depend_on_the_others(name: str, threads: int, inside: int, outside: int) -> None:
    """Whatever their number, their place, and their size; in any number of threads."""
    layer, _, _ = make(name, inside, outside)
    rows = some(70, inside)
    torch.set_num_threads(1)
    whole = layer(rows)
    torch.set_num_threads(threads)
    assert torch.equal(layer(rows), whole)
    rng = random.Random(inside)
    for count in (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64):
        chosen = rng.sample(range(70), count)
        assert torch.equal(layer(rows[chosen]), whole[chosen]), f"{count} rows"
    louder = rows.clone()
    louder[::2] *= 1e4
    assert torch.equal(layer(louder)[1::2], whole[1::2])


@pytest.mark.parametrize(("inside", "outside"), [*SHAPES, (131, 50), (3, 17)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_result_is_as_near_as_it_is_said_to_be(name: str, inside: int, outside: int, bias: bool, count: int) -> None:
    layer, weight, offset = make(name, inside, outside, bias)
    rows = some(count, inside, seed=count)
    exact = rows.double() @ weight.double().T
    off = (layer(rows).double() - offset.double() - exact).abs().max()
    assert off <= (layer.format.error + 1e-6) * (exact.abs().max() + offset.abs().max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_floats_of_any_kind_are_packed_as_their_values_are(name: str, dtype: torch.dtype) -> None:
    format, weight, rows = weight_format(name, best_target()), some(48, 64).to(dtype), some(3, 64)
    assert torch.equal(product(format, rows, format.pack(weight)), product(format, rows, format.pack(weight.float())))


def test_packing_is_deterministic_and_takes_as_much_as_it_says(name: str) -> None:
    format, weight = weight_format(name, best_target()), some(256, 512)
    one, other = format.pack(weight), format.pack(weight.clone())
    assert (one.out_features, one.in_features) == (256, 512)
    assert all(torch.equal(a, b) for a, b in zip(one.parts, other.parts, strict=True))
    taken = 8 * sum(part.nbytes for part in one.parts) / weight.numel()
    assert format.bits <= taken < 1.02 * format.bits


def test_joined_layers_give_what_they_give_apart(name: str) -> None:
    format, rows = weight_format(name, best_target()), some(5, 64, seed=3)
    sizes = (4 * format.joins_at, 2 * format.joins_at, 2 * format.joins_at + 1)
    weights = [some(size, 64, seed=size) for size in sizes]
    joined = format.join([format.pack(weight) for weight in weights])
    assert (joined.out_features, joined.in_features) == (sum(sizes), 64)
    apart = torch.cat([product(format, rows, format.pack(weight))[:, : len(weight)] for weight in weights], 1)
    assert torch.equal(product(format, rows, joined)[:, : sum(sizes)], apart)


@pytest.mark.parametrize("bias", [False, True])
def test_layers_of_a_stack_give_what_they_give_one_by_one(name: str, bias: bool) -> None:
    layers = [make(name, 64, 96, bias)[0] for _ in range(3)]
    for number, layer in enumerate(layers):
        layer.packed = layer.format.pack(some(96, 64, seed=number))
    rows = some(5, 64)
    for number, layer in enumerate(layers):
        out = torch.empty(5, 96)
        calls = LinearStack(best_target(), layers).calls(rows, out)
        Program(best_target(), [(range(len(layers)), calls)]).run(number * len(calls), (number + 1) * len(calls))
        assert torch.equal(out, layer(rows))


@pytest.mark.parametrize("bits", get_args(Bits))
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_stays_in_its_row(name: str, broken: float, bits: Bits) -> None:
    layer, _, _ = make(name, 64, 96, bits=bits)
    rows = some(9, 64)
    whole = layer(rows)
    rows[4, 10] = broken
    out = layer(rows)
    others = [row for row in range(9) if row != 4]
    assert torch.equal(out[others], whole[others])
    assert not out[4].isfinite().all(), "the engine is to see that this row is broken"


def test_a_row_of_zeros_gives_the_bias(name: str) -> None:
    layer, _, offset = make(name, 64, 96)
    assert torch.equal(layer(torch.zeros(3, 64)), offset.expand(3, -1))
    silent, _, _ = make(name, 64, 96, bias=False)
    assert not silent(torch.zeros(1, 64)).any()


def test_leading_dimensions_stay(name: str) -> None:
    layer, _, _ = make(name, 64, 96)
    rows = some(12, 64)
    for shape in ((1, 12), (3, 4), (12, 1), (2, 3, 2)):
        assert torch.equal(layer(rows.view(*shape, 64)), layer(rows).view(*shape, 96))
    assert layer(rows[:1].view(1, 1, 64)).shape == (1, 1, 96)
    strided = some(12, 128)[:, ::2]
    assert torch.equal(layer(strided), layer(strided.contiguous()))


def test_weights_that_are_no_floats_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"torch\.int32"):
        weight_format(name, best_target()).pack(torch.zeros(8, 8, dtype=torch.int32))
