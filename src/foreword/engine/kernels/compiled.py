"""Compiles kernels for the processor at hand, and runs them on torch's threads."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import torch
from llvmlite import ir

Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""A compiled function, which releases the interpreter while it runs."""


class Kernels:
    """The functions of one module, compiled. Each takes an array of int64 whose first is the counter of items taken."""

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
        self._functions = {name: Function(self._code.get_function_address(name)) for name in public}

    def run(self, name: str, arguments: "ctypes.Array[ctypes.c_int64]", threads: int | None = None) -> None:
        """Run a function in so many threads, by default in as many as torch uses; they share out its items."""
        threads = threads or torch.get_num_threads()
        if threads == 1:
            self._functions[name](ctypes.addressof(arguments))
        else:
            _runner()(self._functions[name], ctypes.addressof(arguments), threads)


def arguments(*values: int) -> "ctypes.Array[ctypes.c_int64]":
    """Arguments of a kernel behind a counter that stands at 0; tensors by their address."""
    return (ctypes.c_int64 * (1 + len(values)))(0, *values)


@cache
def _runner() -> Callable[[Any, int, int], None]:
    """How to call a function in several threads at once.

    Two pools of threads would fight for the cores, so torch's own is used: that of the OpenMP library it came with.
    Where that has no entry point of GNU's kind, the threads are Python's.
    """
    for path in sorted(Path(torch.__file__).parent.parent.glob("torch*/**/lib*omp*.so*")):
        try:
            parallel = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes = [Function, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        return lambda function, data, threads: parallel(function, data, threads, 0)
    pool = ThreadPoolExecutor(thread_name_prefix="foreword-kernel")

    def run(function: Any, data: int, threads: int) -> None:
        others = [pool.submit(function, data) for _ in range(threads - 1)]
        function(data)
        wait(others)

    return run
