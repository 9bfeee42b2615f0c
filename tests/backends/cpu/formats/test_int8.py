"""Int8: exact sums, and no more rounding than half a step of every factor."""

import pytest
import torch

from backends.cpu.formats.layers import SHAPES, make, product, some
from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.dots import LARGEST
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.packed_linear import PackedLinear

FORMAT = weight_format("int8", best_target())


@pytest.mark.parametrize("count", [1, 6, 8, 11])
@pytest.mark.parametrize(("inside", "outside"), [(1, 1), (3, 17), (40, 16), (131, 50), (4096, 32)])
def test_int8_sums_are_exact(inside: int, outside: int, count: int) -> None:
    """Rows and weights of whole numbers whose largest is 127 have scales of 1, so nothing is rounded at all."""
    numbers = torch.Generator().manual_seed(inside)
    rows = torch.randint(-127, 128, (count, inside), generator=numbers).float()
    weight = torch.randint(-127, 128, (outside, inside), generator=numbers).float()
    rows[:, 0], weight[:, 0] = 127, -127
    out = product(FORMAT, rows, FORMAT.pack(weight))[:, :outside]
    assert torch.equal(out, (rows.double() @ weight.double().T).float())


@pytest.mark.parametrize("inside", [515, 4096, 70_001])
def test_sums_with_rows_of_16_bits_are_held_however_many_inputs_there_are(inside: int) -> None:
    """The largest that there can be: a row is as fine as its length lets it be."""
    format, rows, weight = (
        weight_format("int8", best_target(), 16),
        torch.full((2, inside), 3.0),
        torch.full((16, inside), -2.0),
    )
    rows[1] *= -1
    out = product(format, rows, format.pack(weight))
    assert torch.allclose(out, rows @ weight.T, rtol=1e-6)


def rounding(layer: PackedLinear, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The most that rounding to whole steps of each scale can move each result: half a step of every factor."""
    weights = layer.packed.parts[1].double()[None, : layer.out_features] / 2
    numbers = rows.double().abs().amax(1, keepdim=True) / LARGEST / 2
    inside = rows.shape[1]
    return (
        rows.double().abs().sum(1, keepdim=True) * weights
        + numbers * weight.double().abs().sum(1)
        + inside * numbers * weights
    )


@pytest.mark.parametrize(("inside", "outside"), SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_int8_is_off_by_no_more_than_its_rounding(inside: int, outside: int, bias: bool) -> None:
    """An upper bound for every single number, which small rows, large rows and rows with one outlier keep too."""
    layer, weight, offset = make("int8", inside, outside, bias)
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
    layer = PackedLinear(FORMAT, FORMAT.pack(weight), None)
    louder = weight.clone()
    louder[7] *= 1e6
    louder[8] = 0
    out = PackedLinear(FORMAT, FORMAT.pack(louder), None)(rows)
    others = [channel for channel in range(48) if channel not in (7, 8)]
    assert torch.equal(out[:, others], layer(rows)[:, others])
    assert not out[:, 8].any()
