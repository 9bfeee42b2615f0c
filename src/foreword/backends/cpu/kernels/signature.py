"""What a kernel is given, declared once: by these names the kernel reads its fields, and a call fills them."""

import operator
import struct
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Literal, SupportsFloat, SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir

from foreword.backends.cpu.kernels.ir_builder import FLOAT, INT32, INT64, POINTER, Builder, int64

Kind = Literal["int", "pointer", "float", "counter"]
"""Of a field. All are kept as int64: a pointer as an address, a float32 as its bits. A counter is the kernel's own: it
begins at 0, all threads share it, and no call fills it."""
Argument = int | float | torch.Tensor | npt.NDArray[np.int64] | npt.NDArray[np.float32]
"""For a field: a number, the tensor whose address it is, or an array with one of these for each layer (program.py)."""
Packed = int | npt.NDArray[np.int64]
"""What a field holds: in all layers the same, or a number for each layer."""
COUNTERS, BETWEEN = 2, 8
"""Of items done and items taken, in front of a kernel's fields; bytes from the first to the second."""


class Signature:
    """The fields of a kernel by name, in the order in which they are kept; the first is always how many items there are."""

    def __init__(self, name: str, **fields: Kind):
        self.name = name
        self.fields: dict[str, Kind] = {"items": "int", **fields}
        self._own = {field: 0 for field, kind in self.fields.items() if kind == "counter"}
        self._given = self.fields.keys() - self._own.keys()
        self._kinds = tuple(self.fields.items())

    @contextmanager
    def define(self, module: ir.Module) -> Iterator[tuple[Builder, "Fields"]]:
        """The inside of the kernel, a function of ``module``: its builder, and the fields, read at its beginning."""
        b = Builder.of(module, self.name, [POINTER], internal=False)
        fields = Fields(b, self)
        yield b, fields
        b.ret_void()
        if unread := self.fields.keys() - fields.read:
            raise TypeError(f"kernel {self.name!r} never reads {_listed(unread)}; take them out of its signature")

    def kind(self, field: str) -> Kind:
        """A field's kind; TypeError for a field that is not in the signature."""
        if field not in self.fields:
            raise TypeError(f"kernel {self.name!r} has no field {field!r}; it has {_listed(self.fields.keys())}")
        return self.fields[field]

    def index(self, field: str) -> int:
        """Where a field is kept, in int64 behind the counter of items taken."""
        return 1 + list(self.fields).index(field)

    def pack(self, arguments: dict[str, Argument]) -> list[Packed]:
        """The fields as they are kept. A TypeError names those that are missing or unknown, or of another kind."""
        if arguments.keys() != self._given:
            raise TypeError(self._difference(arguments))
        if self._own:
            arguments = arguments | self._own
        return [
            argument
            if type(argument := arguments[field]) is int and kind != "float"
            else self._packed(field, kind, argument)
            for field, kind in self._kinds
        ]

    def _packed(self, field: str, kind: Kind, argument: Argument) -> Packed:
        if kind == "float" and isinstance(argument, np.ndarray):
            return argument.astype(np.float32).view(np.int32).astype(np.int64)
        if kind == "float" and isinstance(argument, SupportsFloat) and not isinstance(argument, torch.Tensor):
            return int(struct.unpack("<i", struct.pack("<f", argument))[0])
        if kind == "pointer" and isinstance(argument, torch.Tensor):
            return argument.data_ptr()
        if kind != "float" and isinstance(argument, np.ndarray) and argument.dtype == np.int64:
            return argument.astype(np.int64, copy=False)
        if kind != "float" and isinstance(argument, SupportsIndex) and not isinstance(argument, torch.Tensor | np.ndarray):
            return operator.index(argument)
        found = f"an array of {argument.dtype}" if isinstance(argument, np.ndarray) else f"{argument!r:.50}"
        raise TypeError(f"field {field!r} of kernel {self.name!r} is of kind {kind!r}, got {found}")

    def _difference(self, arguments: dict[str, Argument]) -> str:
        missing, unknown = self._given - arguments.keys(), arguments.keys() - self._given
        parts = [f"lacks {_listed(missing)}"] * bool(missing) + [f"has no field {_listed(unknown)}"] * bool(unknown)
        return f"kernel {self.name!r} {' and '.join(parts)}; a call fills {_listed(self._given)}"


class Fields:
    """What a kernel is given, inside it: each field an attribute, int64, a pointer, a float32, or a counter's address."""

    def __init__(self, b: Builder, signature: Signature):
        self.taken = b.function.args[0]
        """The address of the counter of items taken, behind which the fields are."""
        self.read: set[str] = set()
        """The fields that the kernel has made use of."""
        self._b = b
        self._signature = signature
        self._values = {name: self._load(name) for name, kind in signature.fields.items() if kind != "counter"}

    def __getattr__(self, name: str) -> ir.Value:
        kind = self._signature.kind(name)
        self.read.add(name)
        if kind == "counter":
            return self._b.offset(self.taken, int64(self._signature.index(name)), INT64)
        value = self._values[name]
        if kind == "pointer":
            return self._b.inttoptr(value, POINTER)
        return self._b.bitcast(self._b.trunc(value, INT32), FLOAT) if kind == "float" else value

    def _load(self, name: str) -> ir.Value:
        return self._b.load(self.taken, int64(self._signature.index(name)), INT64)


def _listed(names: Set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
