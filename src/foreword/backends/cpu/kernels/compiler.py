"""Compiles a module of kernels for the processor at hand."""

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.threads import Function, Threads, process_threads

Argument = int | torch.Tensor | npt.NDArray[np.int64]
"""What a kernel is given: a number, the address of a tensor, or a number for each layer (program.py)."""
COUNTERS, BETWEEN = 2, 8
"""Of items done and items taken, in front of a kernel's arguments; bytes from the first to the second."""


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel and what it is given; keeps its tensors alive.

    A kernel gets the address of int64: a counter of items taken, then its arguments, the first of which is how many items
    there are. In front of the address is a counter of items done.
    """

    name: str
    address: int
    function: Callable[[int], None]
    arguments: tuple[Argument, ...]

    def run(self, count: int | None = None, threads: Threads | None = None) -> None:
        """Run it once in ``count`` threads, by default in as many as torch uses; they share out its items."""
        given = (ctypes.c_int64 * (COUNTERS + len(self.arguments)))(0, 0, *map(as_int64, self.arguments))
        data = ctypes.addressof(given) + BETWEEN
        (threads or process_threads()).run(self.function, data, count or torch.get_num_threads())


def as_int64(argument: Argument) -> int:
    """An argument as the kernel gets it."""
    return argument.data_ptr() if isinstance(argument, torch.Tensor) else int(argument)


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

    def call(self, name: str, *arguments: Argument) -> Call:
        """A call of a function, not yet made."""
        return Call(name, *self._functions[name], arguments)
