"""Weights that code multiplies by itself: the same products as torch's, and the same bits in any number of rows."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.packed_linear import PackedLinear
from foreword.backends.cpu.packed_matrix import PackedMatrix, PackedStack, pack_matrices

ROWS = torch.randn(33, 48, generator=torch.Generator().manual_seed(1))
MATRIX = torch.randn(20, 48, generator=torch.Generator().manual_seed(2))
STACK = torch.randn(3, 20, 48, generator=torch.Generator().manual_seed(3))
BIAS = torch.randn(20, generator=torch.Generator().manual_seed(4))


def pack(weight: torch.Tensor) -> nn.Module:
    format = weight_format("none", best_target())
    return PackedLinear(format, format.pack(weight), None)


PRODUCTS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda rows: functional.linear(rows, PackedMatrix(MATRIX, pack)),  # type: ignore[arg-type]
    lambda rows: functional.linear(rows, PackedMatrix(MATRIX, pack).float().to(torch.float32), BIAS) - BIAS,
    lambda rows: rows @ PackedMatrix(MATRIX, pack).t(),  # type: ignore[operator]
    lambda rows: torch.matmul(rows, PackedMatrix(MATRIX.t().contiguous(), pack)),  # type: ignore[arg-type]
    lambda rows: torch.addmm(BIAS, rows, PackedMatrix(MATRIX.t().contiguous(), pack)) - BIAS,  # type: ignore[call-overload]
]


@pytest.mark.parametrize("product", PRODUCTS)
def test_products_are_those_of_the_numbers(product: Callable[[torch.Tensor], torch.Tensor]) -> None:
    whole = product(ROWS)
    torch.testing.assert_close(whole, ROWS @ MATRIX.t(), rtol=1e-4, atol=1e-4)
    for count in (1, 2, 5, 17):
        assert torch.equal(product(ROWS[:count]), whole[:count])


def test_each_expert_of_a_stack_is_multiplied_by_itself() -> None:
    stack = PackedStack(STACK, pack)
    for index in (2, torch.tensor(0), 1):
        expected = ROWS @ STACK[int(index)].t()
        torch.testing.assert_close(functional.linear(ROWS, stack[index]), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(NotImplementedError, match="in two ways"):
        stack.numbers()
    turned = PackedStack(STACK.transpose(1, 2).contiguous(), pack)
    together = torch.bmm(ROWS.expand(3, -1, -1), turned)  # type: ignore[call-overload]
    torch.testing.assert_close(together, ROWS @ STACK.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_whatever_else_is_asked_is_asked_of_the_numbers() -> None:
    matrix = PackedMatrix(MATRIX, pack)
    assert torch.equal(matrix[3], MATRIX[3])
    assert torch.equal(matrix.sum(0), MATRIX.sum(0))
    assert torch.equal(torch.ones(20, 48) * matrix, MATRIX)  # type: ignore[operator]
    assert (matrix.shape, matrix.dim(), matrix.size(1), len(matrix)) == ((20, 48), 2, 48, 20)


def test_a_packed_layer_has_a_weight_to_multiply_by() -> None:
    layer = pack(MATRIX)
    assert torch.equal(functional.linear(ROWS, layer.weight), layer(ROWS))  # type: ignore[arg-type]
    assert torch.equal(layer.weight.numbers(), MATRIX)  # type: ignore[operator, union-attr]


def test_parameters_that_are_matrices_are_replaced_and_no_others() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Module())
    model[3].register_parameter("router", nn.Parameter(torch.ones(3, 4)))
    model[3].register_parameter("experts", nn.Parameter(torch.ones(3, 4, 4)))
    pack_matrices(model, pack, pack)
    assert {name for name, _ in model.named_parameters()} == {"0.weight", "1.weight", "1.bias", "2.weight", "2.bias"}
    assert (model[3].router.ndim, model[3].experts.ndim) == (2, 3)
