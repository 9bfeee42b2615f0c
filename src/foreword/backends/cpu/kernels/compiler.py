"""Compiles modules of kernels for a target, each once in a process."""

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Generic, Protocol, TypeVarTuple, cast

import llvmlite
import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir

from foreword.backends.code_digest import code_digest, digest_of
from foreword.backends.cpu.kernels.signature import BETWEEN, COUNTERS, Argument, Packed, Signature
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.threads import Function, Threads, process_threads

Variant = TypeVarTuple("Variant")
OPTIMIZATION = 3
"""LLVM's level, for choosing instructions and registers."""
CODE = code_digest(["backends"])
"""Of what kernels are defined by, read when it is imported."""


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
    code: object = field(repr=False)
    """The module's machine code, which lives as long as one of its kernels."""

    def call(self, **arguments: Argument) -> Call:
        """A call, not yet made: each field of the signature by name. TypeErrors name what is missing, unknown or of another
        kind."""
        return Call(self, self.signature.pack(arguments), arguments)


def addresses(tensors: Iterable[torch.Tensor]) -> npt.NDArray[np.int64]:
    """Of a tensor of each layer; who makes a call with them keeps the tensors."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.int64)


class ObjectCache(Protocol):
    """Keeps machine code between runs, by the digest of all that it was compiled from (kept_files.py)."""

    def get(self, key: str) -> bytes | None:
        """What was put under this key, if that is still there and can be trusted."""

    def put(self, key: str, code: bytes) -> None:
        """Keep code under a key."""


class Kernels:
    """The kernels of one module, in machine code that is ready to be called."""

    def __init__(self, signatures: Iterable[Signature], code: llvm.ExecutionEngine):
        self._kernels = {}
        for signature in signatures:
            address = code.get_function_address(signature.name)
            self._kernels[signature] = Kernel(signature, address, Function(address), code)

    def __getitem__(self, signature: Signature) -> Kernel:
        return self._kernels[signature]


def _compiled(module: ir.Module, target: Target, keep: Callable[[bytes], None] | None) -> llvm.ExecutionEngine:
    """A module's machine code; ``keep`` is given it too."""
    machine = _machine(target)
    module.triple = machine.triple
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, machine)
    if keep is not None:
        engine.set_object_cache(notify_func=lambda _, code: keep(code))
    engine.finalize_object()
    return engine


def _linked(code: bytes, target: Target) -> llvm.ExecutionEngine:
    """The same of what ``_compiled`` gave to be kept."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _machine(target: Target) -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    native = llvm.Target.from_default_triple()
    # No passes of LLVM's optimiser: what they gain is lost in noise, and they take four times as long as all the rest.
    return native.create_target_machine(cpu=target.processor, features=target.features, opt=OPTIMIZATION)


def object_key(*compiled_from: str) -> str:
    """The digest of all that machine code depends on: these texts, our code, the compiler and how it is asked."""
    compiler = (
        llvmlite.__version__,
        repr(llvm.llvm_version_info),
        llvm.get_default_triple(),
        f"opt={OPTIMIZATION}",
        f"{8 * ctypes.sizeof(ctypes.c_void_p)} bits",
    )
    return digest_of(part.encode() for part in (CODE, *compiler, *compiled_from))


class KernelModule(Generic[*Variant]):
    """A module of kernels, for each target and in its variants compiled once in a process: when it is first asked for.

    Where machine code is kept between runs, it is known by our code, the definition's name, the target and the variant: so a
    definition depends on nothing else, and a variant says in its ``repr`` all that it is.
    """

    def __init__(self, define: Callable[[ir.Module, Target, *Variant], None], signatures: tuple[Signature, ...]):
        self.name = define.__name__
        self.signatures = signatures
        self.define = define
        self._compiled: dict[tuple[Target, *Variant], Kernels] = {}
        self._lock = Lock()

    def __call__(self, target: Target, *variant: *Variant) -> Kernels:
        """The kernels of a variant."""
        kernels = self._compiled.get((target, *variant))
        return kernels if kernels is not None else self.compile(target, *variant)

    def compile(self, target: Target, *variant: *Variant, objects: ObjectCache | None = None) -> Kernels:
        """The same; compiled, if they are not yet, or linked, where ``objects`` has kept what an earlier run compiled."""
        key = (target, *variant)
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = Kernels(self.signatures, self._code(target, *variant, objects=objects))
            return self._compiled[key]

    def _code(self, target: Target, *variant: *Variant, objects: ObjectCache | None) -> llvm.ExecutionEngine:
        if objects is None:
            return _compiled(self._module(target, *variant), target, None)
        key = object_key(f"{self.define.__module__}.{self.define.__qualname__}", repr(target), *map(repr, variant))
        code = objects.get(key)
        if code is not None:
            return _linked(code, target)
        return _compiled(self._module(target, *variant), target, partial(objects.put, key))

    def _module(self, target: Target, *variant: *Variant) -> ir.Module:
        """What the kernels do. TypeError where those that are declared are not those that it defines."""
        module = ir.Module(self.name)
        self.define(module, target, *variant)
        public = {function.name for function in module.functions if not function.is_declaration and not function.linkage}
        declared = {signature.name for signature in self.signatures}
        if public != declared:
            raise TypeError(f"module {module.name!r} defines {sorted(public)}, declared are {sorted(declared)}")
        return module

    @property
    def compiled(self) -> list[tuple[Target, *Variant]]:
        """The targets and variants that are compiled by now."""
        return list(self._compiled)

    def forget(self) -> None:
        """Compile anew what is asked for from now on."""
        self._compiled.clear()


def kernel_module(
    *signatures: Signature,
) -> Callable[[Callable[[ir.Module, Target, *Variant], None]], KernelModule[*Variant]]:
    """Of a function that defines kernels of these signatures in a module."""
    return lambda define: KernelModule(define, signatures)
