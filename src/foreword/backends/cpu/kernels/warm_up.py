"""Compiling ahead what an engine will call, in a thread of its own, while the model's weights are being read."""

import torch

from foreword.backends.cpu.kernels.attention import attention_kernels
from foreword.backends.cpu.kernels.elementwise import elementwise_kernels
from foreword.backends.cpu.kernels.kv_layout import store_kernels
from foreword.backends.cpu.kernels.program import interpreter


def compile_all(dtype: torch.dtype) -> None:
    """All kernels but those of the weights' format, KV being kept in ``dtype``. Each is compiled once in a process."""
    attention_kernels(dtype)
    store_kernels(dtype)
    elementwise_kernels()
    interpreter()
