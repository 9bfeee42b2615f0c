"""Runs a compiled function in several threads at once: torch's own, or Python's where there is no OpenMP."""

import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

import torch

Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""A compiled function. The interpreter is free while it runs."""


class Threads(Protocol):
    """Threads that call one function together."""

    def run(self, function: Callable[[int], None], data: int, count: int) -> None:
        """``function(data)`` in ``count`` threads at once, or in fewer if the system's settings say so; waits for all."""


class OpenMPThreads:
    """Those of an OpenMP library with an entry point of GNU's kind."""

    def __init__(self, library: ctypes.CDLL):
        self._parallel = library.GOMP_parallel
        self._parallel.argtypes = [Function, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        self._parallel.restype = None

    def run(self, function: Callable[[int], None], data: int, count: int) -> None:
        """Run it in one parallel region."""
        if count == 1:
            function(data)
        else:
            self._parallel(function, data, count, 0)


class PythonThreads:
    """A pool of Python's, and the caller's own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="foreword-kernel")

    def run(self, function: Callable[[int], None], data: int, count: int) -> None:
        """Run it in the pool and in the caller's thread."""
        others = [self._pool.submit(function, data) for _ in range(count - 1)]
        function(data)
        wait(others)


def threads_of(libraries: Iterable[Path]) -> Threads:
    """Threads of the first of these OpenMP libraries that can be used, else Python's."""
    for path in libraries:
        with suppress(OSError, AttributeError):
            return OpenMPThreads(ctypes.CDLL(str(path)))
    return PythonThreads()


@cache
def process_threads() -> Threads:
    """Those that torch uses: two pools of threads would fight for the cores."""
    return threads_of(sorted(Path(torch.__file__).parent.parent.glob("torch*/**/lib*omp*.so*")))
