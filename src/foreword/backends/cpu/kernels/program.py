"""Many calls in one: a program is carried out by all threads together, without Python between two calls.

Between two calls from Python a processor waits for the interpreter: for a lone request longer than it takes to compute what
is small. A program is written once for all layers; what differs from layer to layer is given as an array. It can be carried
out again, with some calls in the place of others: writing it takes a lone row's step a twentieth longer.

A thread goes on to the next call when all items of this one are done, whoever did them. A thread that has lost its
processor is not waited for, unless it is in the midst of an item; when it comes back it finds nothing left, and catches up.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from foreword.backends.cpu.kernels.compiler import Call, kernel_module
from foreword.backends.cpu.kernels.ir_builder import INT32, INT64, POINTER, int64
from foreword.backends.cpu.kernels.signature import BETWEEN, COUNTERS, Signature
from foreword.backends.cpu.kernels.target import Target
from foreword.backends.cpu.kernels.threads import Threads

LOOKS = 4000
"""At the counter of items done, before a thread that waits gives its processor away."""
INTERPRET = Signature("interpret", table="pointer")
"""Calls are the items, and the table [calls, 2] their functions and what they get."""


class Program:
    """Calls, made one after the other for the first layer, then for the second, and so on."""

    def __init__(self, target: Target, groups: Sequence[tuple[Sequence[int], list[Call]]]):
        """Layers whose calls are the same but for what their arrays hold are a group: their numbers, and the calls. All
        groups together have each layer from 0 on once."""
        self._target = target
        counts = np.zeros(sum(len(numbers) for numbers, _ in groups), np.int64)
        for numbers, calls in groups:
            counts[list(numbers)] = len(calls)
        self.begins: list[int] = [0, *np.cumsum(counts).tolist()]
        """Where the calls of each layer begin, and where those of the last one end."""
        self._calls = [list(calls) for _, calls in groups]  # they keep the tensors
        self._given = [[_Given(call, len(numbers)) for call in calls] for numbers, calls in groups]
        self._table = np.empty((self.begins[-1], 2), np.int64)
        for (numbers, calls), given in zip(groups, self._given, strict=True):
            places = np.array(self.begins)[list(numbers)]
            for index, call in enumerate(calls):
                self._table[places + index, 0] = call.kernel.address
                self._table[places + index, 1] = given[index].addresses + BETWEEN

    def run(self, first: int = 0, last: int | None = None, threads: Threads | None = None) -> None:
        """Make the calls [first, last), counted over all layers: by default all. Each is made once until ``again``."""
        last = self.begins[-1] if last is None else last
        table = self._table.ctypes.data + first * 2 * self._table.itemsize
        interpreter(self._target)[INTERPRET].call(items=last - first, table=table).run(threads=threads)

    def again(self, changed: Sequence[tuple[int, Sequence[Call]]]) -> None:
        """Have everything made once more. Of each group: calls of the same kernels that take the places from one on."""
        for given in itertools.chain.from_iterable(self._given):
            given.begin()
        for (first, calls), kept, group in zip(changed, self._calls, self._given, strict=True):
            kept[first : first + len(calls)] = calls
            for given, call in zip(group[first:], calls, strict=False):
                given.fill(call)


class _Given:
    """What a call is given in each layer, behind its counters: int64 [layers, counters + fields]."""

    def __init__(self, call: Call, layers: int):
        self._numbers = np.zeros((layers, COUNTERS + len(call.fields)), np.int64)
        kinds = call.kernel.signature.fields.values()
        self._own = [COUNTERS + index for index, kind in enumerate(kinds) if kind == "counter"]
        self.addresses = np.arange(layers) * self._numbers.strides[0] + self._numbers.ctypes.data
        self.fill(call)

    def begin(self) -> None:
        """Nothing is done yet."""
        self._numbers[:, :COUNTERS] = 0
        for column in self._own:
            self._numbers[:, column] = 0

    def fill(self, call: Call) -> None:
        """Take over its fields."""
        self._numbers[:, COUNTERS:] = [0 if isinstance(value, np.ndarray) else value for value in call.fields]
        for index, value in enumerate(call.fields, COUNTERS):
            if isinstance(value, np.ndarray):
                self._numbers[:, index] = value


@kernel_module(INTERPRET)
def interpreter(module: ir.Module, _: Target) -> None:
    """All threads make all calls; a call's items are done before the next is made."""
    yielded = ir.Function(module, ir.FunctionType(INT32, []), "sched_yield")
    kernel = ir.FunctionType(ir.VoidType(), [POINTER]).as_pointer()
    with INTERPRET.define(module) as (b, f):
        table = f.table

        def one(index: ir.Value, _: object) -> None:
            at = b.mul(index, int64(2))
            given = b.inttoptr(b.load(table, b.add(at, int64(1)), INT64), POINTER)
            b.call(b.inttoptr(b.load(table, at, INT64), kernel), [given])
            b.spin_wait(b.offset(given, int64(-1), INT64), b.load(given, int64(1), INT64), yielded, LOOKS)

        b.loop(int64(0), f.items, 1, one)
