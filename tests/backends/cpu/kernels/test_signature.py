"""Fields are filled by name: one that is wrong, missing, unknown or of another kind is refused by its name."""

import importlib
import itertools
import pkgutil
import random
import struct
from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import ir

from foreword.backends.cpu import formats, kernels
from foreword.backends.cpu.formats.q4_0 import LAYOUT
from foreword.backends.cpu.formats.q4_k import LAYOUT as NESTED_LAYOUT
from foreword.backends.cpu.kernels.compiler import KernelModule, kernel_module
from foreword.backends.cpu.kernels.signature import Kind, Signature
from foreword.backends.cpu.kernels.target import Target, best_target

SCALE = Signature("scale", rows="pointer", width="int", factor="float", taken_rows="counter")
FILES = [
    importlib.import_module(f"{folder.__name__}.{file.name}")
    for folder in (kernels, formats)
    for file in pkgutil.iter_modules(folder.__path__)
]


def arguments(**other: Any) -> dict[str, Any]:
    return {"items": 3, "rows": torch.zeros(2), "width": 5, "factor": 0.5, **other}


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in arguments().items() if field != name}


def of_all_files(kind: type) -> list[Any]:
    """What the files of kernels define of a kind, each once."""
    return list({id(value): value for file in FILES for value in vars(file).values() if isinstance(value, kind)}.values())


def test_fields_are_kept_in_the_order_of_the_declaration() -> None:
    rows = torch.zeros(2)
    half = struct.unpack("<i", struct.pack("<f", 0.5))[0]
    assert SCALE.pack(arguments(rows=rows)) == [3, rows.data_ptr(), 5, half, 0]


def test_a_number_for_each_layer() -> None:
    packed = SCALE.pack(arguments(rows=np.array([16, 32]), width=np.array([1, 2]), factor=np.array([1.0, -2.0])))
    assert [part.tolist() for part in packed[1:4] if isinstance(part, np.ndarray)] == [
        [16, 32],
        [1, 2],
        [0x3F800000, 0xC0000000 - 2**32],
    ]


@pytest.mark.parametrize("field", ["items", "rows", "width", "factor"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(TypeError, match=f"kernel 'scale' lacks '{field}'"):
        SCALE.pack(without(field))


@pytest.mark.parametrize("field", ["widths", "taken_rows"])
def test_an_unknown_field_is_named_and_a_counter_is_not_to_be_filled(field: str) -> None:
    with pytest.raises(
        TypeError, match=f"kernel 'scale' has no field '{field}'; a call fills 'factor', 'items', 'rows', 'width'"
    ):
        SCALE.pack(arguments(**{field: 1}))


def test_a_misspelt_field_is_both() -> None:
    with pytest.raises(TypeError, match="lacks 'width' and has no field 'widht'"):
        SCALE.pack({**without("width"), "widht": 5})


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("rows", 0.5, "0.5"),
        ("rows", np.zeros(2, np.float32), "an array of float32"),
        ("width", 2.0, "2.0"),
        ("width", torch.tensor(5), "tensor\\(5\\)"),
        ("width", np.zeros(2), "an array of float64"),
        ("width", "5", "'5'"),
        ("factor", torch.tensor(0.5), "tensor\\(0.5"),
        ("factor", "half", "'half'"),
    ],
)
def test_a_value_of_another_kind_is_named(field: str, value: Any, found: str) -> None:
    kind = SCALE.fields[field]
    with pytest.raises(TypeError, match=f"field '{field}' of kernel 'scale' is of kind '{kind}', got {found}"):
        SCALE.pack(arguments(**{field: value}))


def test_a_kernel_reads_only_fields_that_it_declares() -> None:
    with (
        pytest.raises(TypeError, match="kernel 'scale' has no field 'height'; it has 'factor', 'items'"),
        SCALE.define(ir.Module("m")) as (_, f),
    ):
        f.height  # noqa: B018


def test_a_kernel_declares_only_fields_that_it_reads() -> None:
    with (
        pytest.raises(TypeError, match="kernel 'scale' never reads 'factor', 'taken_rows'"),
        SCALE.define(ir.Module("m")) as (_, f),
    ):
        _ = f.items, f.rows, f.width


def test_a_module_defines_what_it_declares() -> None:
    declared = Signature("declared")

    @kernel_module(declared, SCALE)
    def kernels(module: ir.Module, _: Target) -> None:
        with declared.define(module) as (_, f):
            _ = f.items

    with pytest.raises(TypeError, match="defines \\['declared'\\], declared are \\['declared', 'scale'\\]"):
        kernels(best_target())


def test_the_order_in_which_fields_are_written_does_not_matter() -> None:
    """A kernel that puts each of its fields where its name says: whatever the order at the call, each comes to its place."""
    names = [f"field{index}" for index in range(12)]
    kinds: dict[str, Kind] = dict.fromkeys(names, "int")
    copy = Signature("copy", out="pointer", **kinds)

    @kernel_module(copy)
    def kernels(module: ir.Module, _: Target) -> None:
        with copy.define(module) as (b, f):

            def one(_: ir.Value) -> None:
                for index, name in enumerate(names):
                    b.store(getattr(f, name), f.out, ir.Constant(ir.IntType(64), index))

            b.parallel_for(f.taken, f.items, one)

    expected = list(range(100, 112))
    for seed in range(5):
        out = np.zeros(12, np.int64)
        given = {**dict(zip(names, expected, strict=True)), "items": 1, "out": out.ctypes.data}
        shuffled = random.Random(seed).sample(list(given.items()), len(given))
        kernels(best_target())[copy].call(**dict(shuffled)).run()
        assert out.tolist() == expected


def test_no_field_can_be_given_by_its_place() -> None:
    call: Any = kernels_of_all()[0].call
    with pytest.raises(TypeError, match="positional"):
        call(1, 2, 3)


def kernels_of_all() -> list[Any]:
    """All kernels there are, compiled."""
    modules = {module.name: module for module in of_all_files(KernelModule)}
    variants: dict[str, list[Any]] = {
        "float_kernels": [(torch.float32,)],
        "single_kernels": [(LAYOUT, 8)],
        "nested_kernels": [(NESTED_LAYOUT, 16)],
        "block_row_kernels": [(1, True, 8)],
        "int8_kernels": [(8,)],
        "plain_row_kernels": [(16,)],
        "attention_kernels": [(torch.float32,), (torch.bfloat16,), (torch.int8,)],
        "store_kernels": [(torch.float32,), (torch.bfloat16,), (torch.int8,)],
    }
    compiled = [
        (module, module(best_target(), *variant)) for name, module in modules.items() for variant in variants.get(name, [()])
    ]
    return [found[signature] for module, found in compiled for signature in module.signatures]


def test_each_kernel_that_is_declared_is_one_of_a_module() -> None:
    declared, defined = of_all_files(Signature), list(itertools.chain(*(m.signatures for m in of_all_files(KernelModule))))
    assert len(declared) >= 14
    assert {id(signature) for signature in declared} == {id(signature) for signature in defined}
    assert {id(kernel.signature) for kernel in kernels_of_all()} == {id(signature) for signature in declared}


def test_each_kernel_refuses_a_call_that_lacks_one_of_its_fields() -> None:
    for kernel in kernels_of_all():
        signature = kernel.signature
        filled: dict[str, Any] = {name: 0 for name, kind in signature.fields.items() if kind != "counter"}
        assert len(kernel.call(**filled).fields) == len(signature.fields)
        for name in filled:
            with pytest.raises(TypeError, match=f"kernel '{signature.name}' lacks '{name}'"):
                kernel.call(**{field: 0 for field in filled if field != name})
