"""Compiling ahead what an engine will call, in a thread of its own, while the model's weights are being read."""

from foreword.engine.kernels.attention import attention_kernels
from foreword.engine.kernels.decoder import decoder_kernels
from foreword.engine.kernels.int8 import int8_kernels
from foreword.engine.kernels.linear import linear_kernels
from foreword.engine.kernels.program import interpreter
from foreword.engine.kernels.store import store_kernels
from foreword.engine.memory import KV_DTYPES


def compile_all(quantization: str, kv_dtype: str) -> None:
    """All kernels for such an engine. Each is compiled once in a process; twice, if somebody else asks for it meanwhile."""
    dtype = KV_DTYPES[kv_dtype]
    attention_kernels(dtype)
    store_kernels(dtype)
    if quantization == "int8":
        int8_kernels()
    else:
        linear_kernels()
    decoder_kernels()
    interpreter()
