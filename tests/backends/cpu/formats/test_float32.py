"""Float32: one chain of fused multiply-adds for each number."""

import numpy as np
import pytest
import torch

from backends.cpu.formats.layers import product, some
from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.target import best_target

FORMAT = weight_format("float32", best_target())


def chain(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Each sum from zero upwards, rounded once for a multiplication with its addition. A product of two float32 is exact in
    long doubles, which have 11 bits more than that takes beside a sum of like size."""
    x, w = rows.numpy().astype(np.longdouble), weight.numpy().astype(np.longdouble)
    total = np.zeros((len(x), len(w)), np.float32)
    for k in range(x.shape[1]):
        total = (x[:, k, None] * w[None, :, k] + total).astype(np.float32)
    return torch.from_numpy(total)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long doubles are doubles")
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 13, 20])
@pytest.mark.parametrize(("inside", "outside"), [(1, 1), (3, 17), (40, 16), (131, 50)])
def test_every_number_is_one_chain(inside: int, outside: int, count: int) -> None:
    rows, weight = some(count, inside), some(outside, inside, seed=1)
    out = product(FORMAT, rows, FORMAT.pack(weight))
    assert torch.equal(out[:, :outside], chain(rows, weight))
    assert not out[:, outside:].any()
