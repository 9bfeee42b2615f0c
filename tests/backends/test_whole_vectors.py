"""Elementwise functions give a number the same bits wherever it stands, in any number of threads."""

import pytest
import torch
from torch.nn import functional

from foreword.backends.whole_vectors import GRAINS, STEP, WholeVectors, filled_up

FUNCTIONS = [functional.silu, functional.gelu, torch.sigmoid, torch.tanh, functional.softplus, torch.cos, torch.exp]


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_bits_do_not_depend_on_the_rows_beside(function: object, threads: int) -> None:
    torch.set_num_threads(threads)
    rows = torch.randn(98, 1032, generator=torch.Generator().manual_seed(0))
    with WholeVectors():
        whole = function(rows)  # type: ignore[operator]
        for first, last in ((0, 1), (3, 8), (50, 83), (0, 64)):
            assert torch.equal(function(rows[first:last]), whole[first:last])  # type: ignore[operator]
        assert torch.equal(function(rows[:, 5:77]), whole[:, 5:77])  # type: ignore[operator]


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7, 16, 64])
def test_every_part_is_whole_vectors(threads: int) -> None:
    for count in (1, 63, 64, 2049, 30_001, 1_000_001):
        filled = filled_up(count, threads)
        assert filled >= count
        for grain in GRAINS if filled > GRAINS[0] else ():
            parts = min(threads, -(-filled // grain))
            assert filled % (parts * STEP) == 0


def test_what_is_written_in_place_is_given_back() -> None:
    rows = torch.randn(3, 5)
    with WholeVectors():
        assert torch.allclose(functional.silu(rows.clone(), inplace=True), rows * torch.sigmoid(rows))
