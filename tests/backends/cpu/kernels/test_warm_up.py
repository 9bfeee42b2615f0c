"""What an engine calls is compiled while it loads, not while somebody waits for a token."""

from pathlib import Path

import pytest

from foreword.backends.cpu.formats.float32 import linear_kernels
from foreword.backends.cpu.formats.int8 import int8_kernels
from foreword.backends.cpu.kernels.attention import attention_kernels
from foreword.backends.cpu.kernels.compiler import KernelModule
from foreword.backends.cpu.kernels.elementwise import elementwise_kernels
from foreword.backends.cpu.kernels.kv_layout import store_kernels
from foreword.backends.cpu.kernels.program import interpreter
from foreword.engine import LLM, SamplingParams
from foreword.testing.tiny_models import write_model

ALL: tuple[KernelModule, ...] = (
    attention_kernels,
    elementwise_kernels,
    int8_kernels,
    linear_kernels,
    interpreter,
    store_kernels,
)


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_nothing_is_compiled_after_loading(tmp_path: Path, family: str, quantization: str, kv_dtype: str) -> None:
    for kernels in ALL:
        kernels.forget()
    path = str(write_model(tmp_path, family))
    llm = LLM(path, quantization=quantization, kv_dtype=kv_dtype, self_test=False)
    loaded = {kernels.name: kernels.compiled for kernels in ALL}
    for prompt in (list(range(16, 60)), list(range(16, 70))):
        assert llm.generate(prompt, SamplingParams(temperature=0, max_tokens=3, ignore_eos=True))
    assert {kernels.name: kernels.compiled for kernels in ALL} == loaded
