"""What an engine calls is compiled while it loads, or found where an earlier run kept it; not while somebody waits."""

import shutil
from pathlib import Path

import pytest
import torch

from foreword.backends.cpu.formats.int8 import int8_kernels
from foreword.backends.cpu.kernels.attention import attention_kernels
from foreword.backends.cpu.kernels.compiler import KernelModule
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.elementwise import elementwise_kernels
from foreword.backends.cpu.kernels.float_products import float_kernels
from foreword.backends.cpu.kernels.kv_layout import store_kernels
from foreword.backends.cpu.kernels.program import interpreter
from foreword.backends.cpu.kernels.whole_rows import plain_row_kernels
from foreword.backends.registry import make_backend
from foreword.engine import LLM, SamplingParams
from foreword.testing.tiny_models import write_model

ALL: tuple[KernelModule[()] | KernelModule[torch.dtype] | KernelModule[Bits], ...] = (
    attention_kernels,
    elementwise_kernels,
    int8_kernels,
    float_kernels,
    interpreter,
    plain_row_kernels,
    store_kernels,
)


def answer(llm: LLM, prompt: list[int]) -> list[int]:
    [output] = llm.generate({"prompt_token_ids": prompt}, SamplingParams(temperature=0, max_tokens=5, ignore_eos=True))
    return list(output.outputs[0].token_ids)


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_nothing_is_compiled_after_loading(tmp_path: Path, family: str, quantization: str, kv_dtype: str) -> None:
    for kernels in ALL:
        kernels.forget()
    path = str(write_model(tmp_path, family))
    llm = LLM(path, quantization=quantization, kv_dtype=kv_dtype, self_test=False)
    loaded = {kernels.name: kernels.compiled for kernels in ALL}
    for prompt in (list(range(16, 60)), list(range(16, 70))):
        assert len(answer(llm, prompt)) == 5
    assert {kernels.name: kernels.compiled for kernels in ALL} == loaded


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_what_one_run_compiled_the_next_finds(tmp_path: Path, quantization: str) -> None:
    kept = []
    for _ in range(2):
        for kernels in ALL:
            kernels.forget()
        make_backend("cpu", 16, quantization=quantization, kernel_folder=tmp_path / "kept").warm_up()
        kept.append({file.name: file.stat().st_ino for file in (tmp_path / "kept").iterdir()})
    assert len(kept[0]) == {"none": 5, "int8": 6}[quantization]
    assert kept[1] == kept[0], "what is compiled anew is a new file"


def test_kernels_are_kept_where_the_option_says_or_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told, usual = tmp_path / "told", tmp_path / "cache" / "foreword" / "kernels"
    answers = []
    for number, (option, folder) in enumerate((("off", None), (str(told), told), (None, usual))):
        for kernels in ALL:
            kernels.forget()
        path = str(write_model(tmp_path / f"model{number}", "llama"))
        llm = LLM(path, kernel_cache_dir=option, self_test=False)
        answers.append(answer(llm, list(range(16, 60))))
        assert {place for place in (told, usual) if place.exists()} == ({folder} if folder else set())
        if folder:
            assert len(list(folder.iterdir())) == 5
            shutil.rmtree(folder)
    assert answers == [answers[0]] * 3


def test_what_was_kept_answers_as_what_is_compiled(tmp_path: Path) -> None:
    """The same model under two names, for one that is loaded already would not be loaded again."""
    answers = []
    for name in ("compiled", "found"):
        for kernels in ALL:
            kernels.forget()
        llm = LLM(str(write_model(tmp_path / name, "llama")), kernel_cache_dir=str(tmp_path / "kept"), self_test=False)
        answers.append(answer(llm, list(range(16, 60))))
    assert answers[0] == answers[1]
