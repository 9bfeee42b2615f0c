"""Muon: momentum whose update of each matrix is made orthogonal (Jordan et al., 2024).

Unlike torch.optim.Muon it stays in float32, which a CPU without bfloat16 units computes much faster, and treats all
matrices of one shape together.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def _orthogonal(matrices: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """About the nearest orthogonal matrices, by Newton-Schulz iteration; ``matrices``: (count, rows, columns)."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    result: torch.Tensor = x.transpose(1, 2) if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """For the two-dimensional weights of hidden layers."""

    def __init__(self, params: Iterable[torch.Tensor], lr: float = 0.02, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update from the gradients."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for param in group["params"]:
                shapes[param.shape].append(param)
            for shape, params in shapes.items():
                updates = []
                for param in params:
                    assert param.grad is not None, "every matrix takes part in every step"
                    if "momentum" not in self.state[param]:
                        self.state[param]["momentum"] = torch.zeros_like(param)
                    buffer = self.state[param]["momentum"]
                    buffer.lerp_(param.grad, 1 - group["momentum"])
                    updates.append(param.grad.lerp(buffer, group["momentum"]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for param, update in zip(params, _orthogonal(torch.stack(updates)), strict=True):
                    param.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"] * scale)
