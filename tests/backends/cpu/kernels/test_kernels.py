"""The kernels' promises: exact ends of the exponential, any threads."""

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
def exponential_kernels(module: ir.Module, _: Target, name: str) -> None:
    with EXPONENTIAL.define(module) as (b, f):

        def sixteen(item: ir.Value) -> None:
            at = b.mul(item, int64(LANES))
            b.store({"exp": b.exp, "exp2": b.exp2}[name](b.load_vector(f.numbers, at)), f.numbers, at)

        b.parallel_for(f.taken, f.items, sixteen)


def exponential(name: str, x: np.ndarray) -> np.ndarray:
    out = np.ascontiguousarray(x, np.float32).copy()
    exponential_kernels(best_target(), name)[EXPONENTIAL].call(items=len(out) // LANES, numbers=out.ctypes.data).run()
    return out


def test_the_exponential_is_near_and_exact_where_it_matters() -> None:
    x = np.linspace(-126, 0, 2**20, dtype=np.float32)
    exact = np.exp2(x.astype(np.float64))
    assert (np.abs(exponential("exp2", x) - exact) / exact).max() < 1e-7
    ends = np.array([0.0, -0.0, -126.1, -1e4, -1e30, float("-inf"), float("nan")] + 9 * [0.0], np.float32)
    out = exponential("exp2", ends)
    assert out[:6].tolist() == [1, 1, 0, 0, 0, 0], "a row that saw nothing is kept as it is, a masked score weighs nothing"
    assert np.isnan(out[6])


def test_the_exponential_to_the_base_e_is_as_near_as_its_argument_is() -> None:
    x = np.linspace(-86.9, 0, 2**20, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(exponential("exp", x) - exact) / (exact * (1 - x))).max() < 1e-7


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
