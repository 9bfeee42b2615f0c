"""The kernels' promises: exact ends of the exponential, any threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import ir

from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.compiler import kernel_module
from foreword.backends.cpu.kernels.ir_builder import LANES, int64
from foreword.backends.cpu.kernels.signature import Signature
from foreword.backends.cpu.kernels.target import Target, best_target
from foreword.backends.cpu.kernels.threads import PythonThreads
from foreword.backends.cpu.weight_format import PackedWeight

FORMAT = weight_format("float32", best_target())


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


EXPONENTIAL = Signature("exponential", numbers="pointer")


@kernel_module(EXPONENTIAL)
def exponential_kernels(module: ir.Module, _: Target) -> None:
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
        exponential_kernels(best_target())[EXPONENTIAL].call(items=len(out) // LANES, numbers=out.ctypes.data).run()
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


def multiply(rows: torch.Tensor, packed: PackedWeight, *threads: Any) -> torch.Tensor:
    out = rows.new_empty(len(rows), -(-packed.out_features // FORMAT.joins_at) * FORMAT.joins_at)
    (product,) = FORMAT.calls(rows, (packed.out_features, packed.in_features), packed.parts, out)
    product.run(*threads)
    return out


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    rows, packed = some(9, 64), FORMAT.pack(some(304, 64, seed=1))
    torch.set_num_threads(1)
    whole = multiply(rows, packed)
    torch.set_num_threads(threads)
    assert torch.equal(multiply(rows, packed), whole)


def test_pythons_threads_share_out_the_items_too() -> None:
    rows, packed = some(9, 64), FORMAT.pack(some(304, 64, seed=1))
    assert torch.equal(multiply(rows, packed, 3, PythonThreads()), multiply(rows, packed))
