"""Compiles modules of kernels for the processor at hand, each once in a process."""

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVarTuple, cast

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.signature import BETWEEN, COUNTERS, Argument, Packed, Signature
from foreword.backends.cpu.kernels.threads import Function, Threads, process_threads

Variant = TypeVarTuple("Variant")


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel and its fields, filled; keeps the tensors in them alive.

    A kernel gets the address of int64: a counter of items taken, then its fields, the first of which is how many items there
    are. In front of the address is a counter of items done.
    """

    kernel: "Kernel"
    fields: list[Packed]
    keeps: dict[str, Argument] = field(repr=False)

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.signature.name

    def run(self, count: int | None = None, threads: Threads | None = None) -> None:
        """Run it once in ``count`` threads, by default in as many as torch uses; they share out its items."""
        fields = cast(list[int], self.fields)  # fields for several layers are for a program
        given = (ctypes.c_int64 * (COUNTERS + len(fields)))(0, 0, *fields)
        data = ctypes.addressof(given) + BETWEEN
        (threads or process_threads()).run(self.kernel.function, data, count or torch.get_num_threads())


@dataclass(frozen=True, slots=True)
class Kernel:
    """A compiled function and what it is given."""

    signature: Signature
    address: int
    function: Callable[[int], None]

    def call(self, **arguments: Argument) -> Call:
        """A call, not yet made: each field of the signature by name. TypeErrors name what is missing, unknown or of another
        kind."""
        return Call(self, self.signature.pack(arguments), arguments)


def addresses(tensors: Iterable[torch.Tensor]) -> npt.NDArray[np.int64]:
    """Of a tensor of each layer; who makes a call with them keeps the tensors."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.int64)


class Kernels:
    """The kernels of one module, compiled."""

    def __init__(self, module: ir.Module, signatures: Iterable[Signature]):
        signatures = list(signatures)
        public = {function.name for function in module.functions if not function.is_declaration and not function.linkage}
        if public != {signature.name for signature in signatures}:
            raise TypeError(f"module {module.name!r} defines {sorted(public)}, declared are {[s.name for s in signatures]}")
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
        self._kernels = {}
        for signature in signatures:
            address = self._code.get_function_address(signature.name)
            self._kernels[signature] = Kernel(signature, address, Function(address))

    def __getitem__(self, signature: Signature) -> Kernel:
        return self._kernels[signature]


class KernelModule(Generic[*Variant]):
    """A module of kernels in its variants, each compiled once in a process: when it is first asked for."""

    def __init__(self, define: Callable[[ir.Module, *Variant], None], signatures: tuple[Signature, ...]):
        self.name = define.__name__
        self.signatures = signatures
        self._define = define
        self._compiled: dict[tuple[*Variant], Kernels] = {}
        self._lock = Lock()

    def __call__(self, *variant: *Variant) -> Kernels:
        """The kernels of a variant."""
        kernels = self._compiled.get(variant)
        return kernels if kernels is not None else self._compile(variant)

    @property
    def compiled(self) -> list[tuple[*Variant]]:
        """The variants that are compiled by now."""
        return list(self._compiled)

    def forget(self) -> None:
        """Compile anew what is asked for from now on."""
        self._compiled.clear()

    def _compile(self, variant: tuple[*Variant]) -> Kernels:
        with self._lock:
            if variant not in self._compiled:
                module = ir.Module(self.name)
                self._define(module, *variant)
                self._compiled[variant] = Kernels(module, self.signatures)
            return self._compiled[variant]


def kernel_module(
    *signatures: Signature,
) -> Callable[[Callable[[ir.Module, *Variant], None]], KernelModule[*Variant]]:
    """Of a function that defines kernels of these signatures in a module."""
    return lambda define: KernelModule(define, signatures)
