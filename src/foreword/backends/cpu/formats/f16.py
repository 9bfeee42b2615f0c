"""F16: weights in float16, computed with in float32."""

import torch

from foreword.backends.cpu.float_format import FloatFormat
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.target import Target


def make(target: Target, _: Bits) -> FloatFormat:
    """The format for a target; rows stay float32."""
    return FloatFormat("f16", torch.float16, 1e-3, target)
