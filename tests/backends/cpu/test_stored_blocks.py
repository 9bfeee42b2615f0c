"""Blocks as files store them stand for what the package ``gguf`` says, and products are those of these weights."""

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from backends.cpu.formats.layers import product, some
from foreword.backends.cpu.formats import FORMATS, weight_format
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.target import best_target, targets
from foreword.backends.cpu.weight_format import WeightFormat
from foreword.errors import ModelError

STORED = [name for name in FORMATS if name.upper() in GGMLQuantizationType.__members__]
INSIDE, OUTSIDE = 768, 43
SCALES = {"q4_1": [0, 2], "q5_1": [0, 2], "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208]}
"""Where float16 numbers stand in a block, if not at its beginning alone."""
HALVES = {"f16", "bf16"}


def stored(name: str, scales: list[float], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Rows of random blocks, with scales taken in turn from a list."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]]
    random = np.random.default_rng(seed)
    if name in HALVES:
        numbers = torch.from_numpy(random.standard_normal((OUTSIDE, INSIDE), np.float32))
        kept = numbers.half() if name == "f16" else numbers.bfloat16()
        return kept.view(torch.uint8).numpy()
    raw = random.integers(0, 256, (OUTSIDE * INSIDE // block, size), np.uint8)
    for place in SCALES.get(name, [0]):
        chosen = np.resize(np.array(scales, np.float16), len(raw))
        raw[:, place : place + 2] = chosen.view(np.uint8).reshape(-1, 2)
    return raw.reshape(OUTSIDE, -1)


def meant(name: str, raw: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(dequantize(raw, GGMLQuantizationType[name.upper()])).view(OUTSIDE, INSIDE)


ANY = ["int8", "q8_0", "q4_k", "q6_k", "float32", "bf16"]
ORDINARY, EDGES = [0.01, -0.02, 0.5, 0.003], [0.0, -0.0, 6e-8, 65504.0, -65504.0, 1.0]
"""Scales; of the edges zero, the least and the largest that float16 has."""


def test_there_is_a_kernel_for_each_common_type() -> None:
    assert set(STORED) >= {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k", "f16", "bf16"}


@pytest.mark.parametrize("scales", [ORDINARY, EDGES])
@pytest.mark.parametrize("name", STORED)
def test_packed_blocks_stand_for_the_weights_that_the_oracle_says(name: str, scales: list[float]) -> None:
    raw, format = stored(name, scales), weight_format(name, best_target())
    packed = format.pack(torch.from_numpy(raw))
    assert (packed.out_features, packed.in_features) == (OUTSIDE, INSIDE)
    expected, chosen = meant(name, raw), torch.tensor([5, 0, OUTSIDE - 1, 5])
    assert torch.equal(format.rows(packed, torch.arange(OUTSIDE)), expected)
    assert torch.equal(format.rows(packed, chosen), expected[chosen])


@pytest.mark.parametrize("bits", get_args(Bits))
@pytest.mark.parametrize("name", STORED)
def test_products_are_those_of_the_weights_on_every_path_with_the_same_bits(name: str, bits: Bits) -> None:
    """Rows of whole numbers, of which each block has a largest of 127, are not rounded; so all is exact but for sums."""
    raw = stored(name, ORDINARY)
    rows = torch.randint(-127, 128, (19, INSIDE), generator=torch.Generator().manual_seed(0)).float()
    rows[:, ::32] = 127
    rows[3] = 0
    exact = rows.double() @ meant(name, raw).double().T
    sizes = rows.double().abs() @ meant(name, raw).double().abs().T
    found = []
    for target in targets():
        format = weight_format(name, target, bits)
        out = product(format, rows, format.pack(torch.from_numpy(raw)))[:, :OUTSIDE]
        assert bool(((out.double() - exact).abs() <= 2e-6 * sizes).all()), target.path
        found.append(out)
    assert all(torch.equal(out, found[0]) for out in found), [target.path for target in targets()]


@pytest.mark.parametrize(
    ("name", "bits"), [*((name, 8) for name in ANY), *((name, 16) for name in ANY if name not in ("float32", "bf16"))]
)
def test_paths_give_the_same_bits_for_rows_of_any_numbers(name: str, bits: Bits) -> None:
    """Small, large, unlike ones, and of a length that fills neither blocks nor steps; any number of rows."""
    rows, weight, outs = some(37, 331), some(50, 331, seed=1), []
    rows[1] *= 1e-25
    rows[2] *= 1e20
    rows[5, 7] = 1e4
    for target in targets():
        format = weight_format(name, target, bits)
        packed = format.pack(weight)
        whole = product(format, rows, packed)[:, :50]
        for count in (1, 2, 3, 5, 8, 9):
            assert torch.equal(product(format, rows[:count], packed)[:, :50], whole[:count]), (target.path, count)
        outs.append(whole)
    assert all(torch.equal(out, outs[0]) for out in outs)


@pytest.mark.parametrize("name", ["int8", *(name for name in STORED if name not in HALVES)])
def test_rows_of_16_bits_are_all_but_exact(name: str) -> None:
    """What is left of a product's error are the weights'; a number that is much larger than the others changes little."""
    weight, rows = some(50, 331, seed=1), some(9, 331)
    rows[5, 7] = 100
    fine, coarse = weight_format(name, best_target(), 16), weight_format(name, best_target(), 8)
    packed = fine.pack(weight)
    exact = rows.double() @ fine.rows(packed, torch.arange(50)).double().T

    def off(format: WeightFormat) -> float:
        errors = (product(format, rows, packed)[:, :50].double() - exact).abs().amax(1) / exact.abs().amax(1)
        return float(errors.max())

    assert off(fine) < 5e-4 < off(coarse)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", STORED)
def test_blocks_whose_scale_is_no_number_are_refused(name: str, broken: float) -> None:
    raw = stored(name, ORDINARY)
    place = SCALES.get(name, [0])[-1]
    bits = torch.tensor([broken]).to(torch.bfloat16 if name == "bf16" else torch.float16)
    raw[7, place : place + 2] = bits.view(torch.uint8).numpy()
    with pytest.raises(ModelError, match="no numbers"):
        weight_format(name, best_target()).pack(torch.from_numpy(raw))


@pytest.mark.parametrize("name", [name for name in STORED if name not in HALVES])
def test_rows_that_are_no_whole_blocks_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"Rows of 333 bytes cannot be {name}"):
        weight_format(name, best_target()).pack(torch.zeros(16, 333, dtype=torch.uint8))
