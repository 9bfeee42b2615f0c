"""Float32: weights as they are."""

import torch

from foreword.backends.cpu.float_format import FloatFormat
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.target import Target


def make(target: Target, _: Bits) -> FloatFormat:
    """The format for a target; rows stay float32."""
    return FloatFormat("float32", torch.float32, 1e-5, target)
