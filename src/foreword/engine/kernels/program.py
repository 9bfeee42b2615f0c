"""Many calls in one: a program is carried out by all threads together, which meet after each call.

Between two calls from Python a processor waits for the interpreter: for a lone request longer than it takes to compute what
is small. A program is written once a step for all layers; what differs from layer to layer is given as an array.
"""

import ctypes
from functools import cache

import numpy as np
import torch
from llvmlite import ir

from foreword.engine.kernels.compiled import Call, Kernels, number, run_in_threads, team_size_function
from foreword.engine.kernels.emit import INT32, INT64, POINTER, Builder, int64

SPINS = 4000
"""Looks at the others' counter before a thread that waits gives its processor away."""


class Program:
    """Calls, made one after the other for the first layer, then for the second, and so on."""

    def __init__(self, calls: list[Call], layers: int):
        self.calls = calls
        self.layers = layers
        self._given = [_given(call, layers) for call in calls]
        self._table = np.empty((layers, len(calls), 2), np.int64)
        for index, (call, given) in enumerate(zip(calls, self._given, strict=True)):
            self._table[:, index, 0] = call.address
            self._table[:, index, 1] = np.arange(layers) * given.strides[0] + given.ctypes.data

    def run(self, first: int = 0, last: int | None = None) -> None:
        """Make the calls [first, last), counted over all layers: by default all. Each is made once in a program's life."""
        last = self.layers * len(self.calls) if last is None else last
        threads = torch.get_num_threads()
        table = self._table.ctypes.data + first * 2 * self._table.itemsize
        given = (ctypes.c_int64 * 5)(0, last - first, table, threads, team_size_function() if threads > 1 else 0)
        run_in_threads(_interpreter().call("interpret").function, ctypes.addressof(given), threads)


def _given(call: Call, layers: int) -> np.ndarray:
    """What a call is given in each layer, behind its counter: int64 [layers, 1 + values]."""
    several = [(index, value) for index, value in enumerate(call.values, 1) if isinstance(value, np.ndarray)]
    common = [0 if isinstance(value, np.ndarray) else number(value) for value in call.values]
    given = np.empty((layers, 1 + len(common)), np.int64)
    given[:] = [0, *common]
    for index, values in several:
        given[:, index] = values
    return given


@cache
def _interpreter() -> Kernels:
    """Given behind the counter: how many calls, the table [calls, 2] of functions and what they get, how many threads, and
    the function that knows better."""
    module = ir.Module("program")
    team_size = ir.FunctionType(INT32, [])
    yielded = ir.Function(module, ir.FunctionType(INT32, []), "sched_yield")
    kernel = ir.FunctionType(ir.VoidType(), [POINTER])
    b = Builder.of(module, "interpret", [POINTER], internal=False)
    counter = b.function.args[0]
    calls, table, threads, size_of = (b.number(counter, int64(field), INT64) for field in range(1, 5))
    table = b.inttoptr(table, POINTER)
    asked = b.block
    with b.if_then(b.icmp_signed("!=", size_of, int64(0))):
        told = b.sext(b.call(b.inttoptr(size_of, team_size.as_pointer()), []), INT64)
        telling = b.block
    team = b.phi(INT64)
    team.add_incoming(threads, asked)
    team.add_incoming(told, telling)

    def one(index: ir.Value, _: object) -> None:
        at = b.mul(index, int64(2))
        function = b.inttoptr(b.number(table, at, INT64), kernel.as_pointer())
        b.call(function, [b.inttoptr(b.number(table, b.add(at, int64(1)), INT64), POINTER)])
        b.meet(counter, b.mul(b.add(index, int64(1)), team), yielded, SPINS)

    b.loop(int64(0), calls, 1, one)
    b.ret_void()
    return Kernels(module)
