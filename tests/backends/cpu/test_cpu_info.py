"""What the log says of the path that was chosen."""

import os

import llvmlite.binding as llvm
import pytest
import torch

from foreword.backends.cpu.cpu_info import idle_threads, path_in_words


@pytest.mark.parametrize(
    ("features", "vectors"),
    [({"avx512f": True, "avx2": True}, "AVX-512"), ({"avx512f": False, "avx2": True}, "AVX2"), ({}, "no vectors")],
)
def test_the_path_in_words(monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], vectors: str) -> None:
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "cpu9")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    begin = f"kernels for cpu9 ({vectors}), linear layers in "
    assert path_in_words("none", "tiled") == begin + "float32, attention 'tiled', 3 threads"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert path_in_words("int8", "reference") == begin + "int8, attention 'reference', 1 thread"


@pytest.mark.parametrize(("threads", "warned"), [(1, False), (4, False), (5, True), (64, True)])
def test_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch, threads: int, warned: bool) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    warning = idle_threads()
    assert (warning is not None) == warned
    if warning is not None:
        assert warning.startswith(f"{threads} are more threads than processors (4)")
        assert "OMP_NUM_THREADS=4" in warning
