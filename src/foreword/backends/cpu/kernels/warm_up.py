"""Compiling ahead what an engine will call, in a thread of its own, while the model's weights are being read."""

import torch

from foreword.backends.cpu.kernels.attention import attention_kernels
from foreword.backends.cpu.kernels.compiler import ObjectCache
from foreword.backends.cpu.kernels.elementwise import elementwise_kernels
from foreword.backends.cpu.kernels.kv_layout import store_kernels
from foreword.backends.cpu.kernels.program import interpreter
from foreword.backends.cpu.kernels.target import Target


def compile_all(target: Target, dtype: torch.dtype, objects: ObjectCache | None = None) -> None:
    """All kernels but those of the weights' format, KV being kept in ``dtype``. Each is compiled once in a process, and not
    even once where ``objects`` has kept it from an earlier run."""
    attention_kernels.compile(target, dtype, objects=objects)
    store_kernels.compile(target, dtype, objects=objects)
    elementwise_kernels.compile(target, objects=objects)
    interpreter.compile(target, objects=objects)
