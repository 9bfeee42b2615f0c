"""What the log says of the path that was chosen."""

import pytest

from foreword.backends.cpu.cpu_info import idle_threads, kernels_in_words


@pytest.mark.parametrize(
    ("features", "vectors"),
    [({"avx512f": True, "avx2": True}, "AVX-512"), ({"avx512f": False, "avx2": True}, "AVX2"), ({}, "no vectors")],
)
def test_the_path_in_words(features: dict[str, bool], vectors: str) -> None:
    assert kernels_in_words("cpu9", features) == f"kernels for cpu9 ({vectors})"


@pytest.mark.parametrize(("threads", "warned"), [(1, False), (4, False), (5, True), (64, True)])
def test_more_threads_than_processors(threads: int, warned: bool) -> None:
    warning = idle_threads(threads, processors=4)
    assert (warning is not None) == warned
    if warning is not None:
        assert warning.startswith(f"{threads} are more threads than processors (4)")
        assert "OMP_NUM_THREADS=4" in warning
