"""The kernels between the linear layers, against the same in float64, and row by row."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from foreword.backends.cpu.kernels import elementwise as kernels
from foreword.backends.cpu.kernels.target import best_target

TARGET = best_target()
EPS = 1e-6


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normed(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    x = rows.double()
    return x * (x.pow(2).mean(-1, keepdim=True) + EPS).rsqrt() * weight.double()


def turned(rows: torch.Tensor, heads: int, size: int, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    x = rows[:, : heads * size].double().view(len(rows), heads, size)
    half = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1)
    return x * cos.double()[:, None] + half * sin.double()[:, None]


def near(found: torch.Tensor, exact: torch.Tensor) -> bool:
    return bool((found.double() - exact).abs().max() < 1e-6 * exact.abs().max())


@pytest.mark.parametrize(("count", "width"), [(1, 16), (3, 48), (700, 64)])
def test_norms(count: int, width: int) -> None:
    rows, added, weight, out = some(count, width), some(count, width, seed=1), some(width, seed=2), torch.empty(count, width)
    kernels.rms_norm(TARGET, rows, weight, EPS, out).run()
    assert near(out, normed(rows, weight))
    together = rows + added
    kernels.add_rms_norm(TARGET, rows, added, weight, EPS, out).run()
    assert torch.equal(rows, together)
    assert near(out, normed(together, weight))


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize(("count", "heads", "size"), [(1, 1, 16), (3, 5, 48), (40, 6, 64)])
def test_heads_turn_and_the_rest_of_a_row_stays(count: int, heads: int, size: int, with_norm: bool) -> None:
    rows, cos, sin = some(count, (heads + 2) * size), some(count, size, seed=1), some(count, size, seed=2)
    norm = some(heads, size, seed=3) if with_norm else None
    before = rows.clone()
    kernels.rotate(TARGET, rows, heads, size, cos, sin, norm, EPS).run()
    expected = before.clone().double()
    if norm is not None:
        expected[:, : heads * size] = normed(before[:, : heads * size].view(count, heads, size), norm).view(count, -1)
    assert near(rows[:, : heads * size].view(count, heads, size), turned(expected, heads, size, cos, sin))
    assert torch.equal(rows[:, heads * size :], before[:, heads * size :])


def test_the_gate_is_silu_also_far_out() -> None:
    rows = 4 * some(5, 96)
    rows[0, :6] = torch.tensor([0.0, -87.5, 90.0, -1e4, 1e30, float("nan")])
    out = torch.empty(5, 48)
    kernels.gate(TARGET, rows, out).run()
    exact = functional.silu(rows[:, :48].double()) * rows[:, 48:].double()
    assert out[0, 5].isnan()
    torch.testing.assert_close(out.double(), exact, rtol=1e-6, atol=1e-30, equal_nan=True)


def test_sums() -> None:
    rows, other, bias = some(5, 48), some(5, 48, seed=1), some(48, seed=2)
    expected = rows + other
    kernels.add(TARGET, rows, other).run()
    assert torch.equal(rows, expected)
    kernels.add_bias(TARGET, rows, bias).run()
    assert torch.equal(rows, expected + bias)


def _norm(rows: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(rows)
    kernels.rms_norm(TARGET, rows, some(rows.shape[1], seed=5), EPS, out).run()
    return out


def _rotate(rows: torch.Tensor) -> torch.Tensor:
    rows = rows.clone()
    turns = torch.ones(len(rows), 48)
    kernels.rotate(TARGET, rows, 2, 48, turns, 0.5 * turns, some(2, 48, seed=5), EPS).run()
    return rows


def _gate(rows: torch.Tensor) -> torch.Tensor:
    out = rows.new_empty(len(rows), rows.shape[1] // 2)
    kernels.gate(TARGET, rows, out).run()
    return out


@pytest.mark.parametrize("compute", [_norm, _rotate, _gate])
def test_a_row_depends_on_no_other_and_on_no_number_of_threads(compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
    rows = some(300, 96)
    torch.set_num_threads(1)
    whole = compute(rows)
    torch.set_num_threads(3)
    assert torch.equal(compute(rows), whole)
    for first, last in ((0, 1), (7, 12), (299, 300)):
        assert torch.equal(compute(rows[first:last].contiguous()), whole[first:last])
