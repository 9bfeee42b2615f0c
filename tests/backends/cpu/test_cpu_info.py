"""More threads than processors are warned of."""

import pytest

from foreword.backends.cpu.cpu_info import idle_threads


@pytest.mark.parametrize(("threads", "warned"), [(1, False), (4, False), (5, True), (64, True)])
def test_more_threads_than_processors(threads: int, warned: bool) -> None:
    warning = idle_threads(threads, processors=4)
    assert (warning is not None) == warned
    if warning is not None:
        assert warning.startswith(f"{threads} are more threads than processors (4)")
        assert "OMP_NUM_THREADS=4" in warning
