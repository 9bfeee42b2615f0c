"""A function is called once in each thread; torch's OpenMP where it can be used, else Python's threads."""

import math
import sys
import threading
from pathlib import Path

import pytest

from foreword.backends.cpu.kernels.threads import (
    Function,
    OpenMPThreads,
    PythonThreads,
    Threads,
    process_threads,
    threads_of,
)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("threads", [PythonThreads(), process_threads()])
def test_the_function_is_called_in_each_thread_with_the_data(threads: Threads, count: int) -> None:
    called: list[int] = []
    threads.run(Function(called.append), 77, count)
    assert called == [77] * count


def test_pythons_threads_are_named_and_the_caller_is_one_of_them() -> None:
    names: list[str] = []
    meeting = threading.Barrier(3)  # so that no thread is called twice

    def note(_: int) -> None:
        meeting.wait(timeout=60)
        names.append(threading.current_thread().name)

    PythonThreads().run(note, 0, 3)
    own = threading.current_thread().name
    assert sorted(name.rsplit("_", 1)[0] for name in names if name != own) == ["foreword-kernel"] * 2
    assert names.count(own) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's OpenMP has no entry point of GNU's kind")
def test_torchs_openmp_is_used_where_it_can_be() -> None:
    assert isinstance(process_threads(), OpenMPThreads)


def test_pythons_threads_where_there_is_no_openmp(tmp_path: Path) -> None:
    """No library, none that can be loaded, and one without the entry point."""
    broken = tmp_path / "libgomp.so"
    broken.write_text("not a library")
    other = Path(math.__file__)
    for libraries in ([], [broken], [other], [broken, other]):
        assert isinstance(threads_of(libraries), PythonThreads)
