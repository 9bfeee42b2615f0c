"""Compiles kernels for the processor at hand, and runs them on torch's threads."""

import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir

Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""A compiled function. The interpreter is free while it runs."""
Value = int | torch.Tensor | npt.NDArray[np.int64]
"""What a kernel is given: a number, the address of a tensor, or a number for each layer (program.py)."""
COUNTERS, BETWEEN = 2, 8
"""Of items done and items taken, in front of a kernel's values; bytes from the first to the second."""


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel and what it is given; keeps its tensors alive.

    A kernel gets the address of int64: a counter of items taken, then its values, the first of which is how many items there
    are. In front of the address is a counter of items done.
    """

    name: str
    address: int
    function: Callable[[int], None]
    values: tuple[Value, ...]

    def run(self, threads: int | None = None) -> None:
        """Run it once in so many threads, by default in as many as torch uses; they share out its items."""
        given = (ctypes.c_int64 * (COUNTERS + len(self.values)))(0, 0, *(number(value) for value in self.values))
        run_in_threads(self.function, ctypes.addressof(given) + BETWEEN, threads or torch.get_num_threads())


def number(value: Any) -> int:
    """A value as the kernel gets it."""
    return int(value.data_ptr() if isinstance(value, torch.Tensor) else value)


def addresses(tensors: Iterable[torch.Tensor]) -> npt.NDArray[np.int64]:
    """Of a tensor of each layer; who makes a call with them keeps the tensors."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.int64)


class Kernels:
    """The functions of one module, compiled."""

    def __init__(self, module: ir.Module):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features().flatten()
        target = llvm.Target.from_default_triple()
        # No passes of LLVM's optimiser: what they gain is lost in noise, and they take four times as long as all the rest.
        machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
        module.triple = target.triple
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        self._code = llvm.create_mcjit_compiler(parsed, machine)
        self._code.finalize_object()
        public = [function.name for function in module.functions if not function.is_declaration and not function.linkage]
        addresses = {name: self._code.get_function_address(name) for name in public}
        self._functions = {name: (address, Function(address)) for name, address in addresses.items()}

    def call(self, name: str, *values: Value) -> Call:
        """A call of a function, not yet made."""
        return Call(name, *self._functions[name], values)


def run_in_threads(function: Callable[[int], None], data: int, threads: int) -> None:
    """Call a compiled function in several threads at once."""
    if threads == 1:
        function(data)
    else:
        _team()(function, data, threads)


@cache
def _team() -> Callable[[Any, int, int], None]:
    """How to call a function in several threads at once; there may be fewer, if the system's settings say so.

    Two pools of threads would fight for the cores, so torch's own is used where it can be; else the threads are Python's.
    """
    library = _openmp()
    if library is not None:
        parallel = library.GOMP_parallel
        parallel.argtypes = [Function, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        return lambda function, data, threads: parallel(function, data, threads, 0)
    pool = ThreadPoolExecutor(thread_name_prefix="foreword-kernel")

    def run(function: Any, data: int, threads: int) -> None:
        others = [pool.submit(function, data) for _ in range(threads - 1)]
        function(data)
        wait(others)

    return run


def _openmp() -> Any:
    """The OpenMP library that torch came with, if it has an entry point of GNU's kind."""
    for path in sorted(Path(torch.__file__).parent.parent.glob("torch*/**/lib*omp*.so*")):
        with suppress(OSError):
            library = ctypes.CDLL(str(path))
            if hasattr(library, "GOMP_parallel"):
                return library
    return None
