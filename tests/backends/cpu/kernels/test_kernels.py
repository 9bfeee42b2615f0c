"""The kernels' promises: one chain of fused multiply-adds for each number, exact ends of the exponential, any threads."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import kernel_module
from foreword.backends.cpu.kernels.int8 import multiply_int8, pack_int8
from foreword.backends.cpu.kernels.ir_builder import LANES, int64
from foreword.backends.cpu.kernels.linear import multiply, pack, product
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.threads import PythonThreads


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    out = multiply(rows, pack(weight))
    assert torch.equal(out[:, :outside], chain(rows, weight))
    assert not out[:, outside:].any()


@pytest.mark.parametrize("count", [1, 6, 8, 11])
@pytest.mark.parametrize(("inside", "outside"), [(1, 1), (3, 17), (40, 16), (131, 50), (4096, 32)])
def test_int8_sums_are_exact(inside: int, outside: int, count: int) -> None:
    """Rows and weights of whole numbers whose largest is 127 have scales of 1, so nothing is rounded at all."""
    numbers = torch.Generator().manual_seed(inside)
    rows = torch.randint(-127, 128, (count, inside), generator=numbers).float()
    weight = torch.randint(-127, 128, (outside, inside), generator=numbers).float()
    rows[:, 0], weight[:, 0] = 127, -127
    out = multiply_int8(rows, *pack_int8(weight))[:, :outside]
    assert torch.equal(out, (rows.double() @ weight.double().T).float())


EXPONENTIAL = Signature("exponential", numbers="pointer")


@kernel_module(EXPONENTIAL)
def exponential_kernels(module: ir.Module) -> None:
    with EXPONENTIAL.define(module) as (b, f):

        def sixteen(item: ir.Value) -> None:
            at = b.mul(item, int64(LANES))
            b.store(b.exp(b.load_vector(f.numbers, at)), f.numbers, at)

        b.parallel_for(f.taken, f.items, sixteen)


@pytest.fixture
def exponential() -> Callable[[np.ndarray], np.ndarray]:
    """e to the x of an array of float32, its length a multiple of 16."""

    def run(x: np.ndarray) -> np.ndarray:
        out = np.ascontiguousarray(x, np.float32).copy()
        exponential_kernels()[EXPONENTIAL].call(items=len(out) // LANES, numbers=out.ctypes.data).run()
        return out

    return run


def test_the_exponential_is_near_and_exact_where_it_matters(exponential: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.linspace(-86.9, 0, 2**16, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(exponential(x) - exact) / exact).max() < 2e-7
    ends = np.array([0.0, -0.0, -87.1, -1e4, -1e30, float("-inf"), float("nan")] + 9 * [0.0], np.float32)
    out = exponential(ends)
    assert out[:6].tolist() == [1, 1, 0, 0, 0, 0], "a row that saw nothing is kept as it is, a masked score weighs nothing"
    assert np.isnan(out[6])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    rows, packed = some(9, 64), pack(some(300, 64, seed=1))
    torch.set_num_threads(1)
    whole = multiply(rows, packed)
    torch.set_num_threads(threads)
    assert torch.equal(multiply(rows, packed), whole)


def test_pythons_threads_share_out_the_items_too() -> None:
    rows, packed = some(9, 64), pack(some(300, 64, seed=1))
    out = rows.new_empty(9, 304)
    product(rows, packed, packed.shape[:2], out).run(3, PythonThreads())
    assert torch.equal(out, multiply(rows, packed))
