"""A program makes its calls in order, for each layer with that layer's numbers, whatever threads there are."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from foreword.backends.cpu.formats import weight_format
from foreword.backends.cpu.kernels import elementwise as kernels
from foreword.backends.cpu.kernels.program import Program
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.kernels.threads import PythonThreads

TARGET = best_target()
FORMAT = weight_format("float32", TARGET)
LAYERS, WIDTH = 40, 64


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def addresses(tensors: list[torch.Tensor]) -> np.ndarray:
    return np.array([tensor.data_ptr() for tensor in tensors], np.int64)


class Layers:
    """Layers of a norm and a product that is added; each needs what the one before it gave."""

    def __init__(self) -> None:
        self.norms = [some(WIDTH, seed=layer) for layer in range(LAYERS)]
        self.weights = [FORMAT.pack(some(WIDTH, WIDTH, seed=100 + layer)).parts[0] for layer in range(LAYERS)]

    def one_by_one(self, rows: torch.Tensor) -> torch.Tensor:
        for norm, weight in zip(self.norms, self.weights, strict=True):
            normed = torch.empty_like(rows)
            kernels.rms_norm(TARGET, rows, norm, 1e-6, normed).run(1)
            added = torch.empty_like(rows)
            for call in FORMAT.calls(normed, (WIDTH, WIDTH), [weight], added):
                call.run()
            rows = rows + added
        return rows

    def program(self, rows: torch.Tensor) -> Program:
        normed, added = torch.empty_like(rows), torch.empty_like(rows)
        self.added = added
        calls = [
            kernels.rms_norm(TARGET, rows, addresses(self.norms), 1e-6, normed),
            *FORMAT.calls(normed, (WIDTH, WIDTH), [addresses(self.weights)], added),
            kernels.add(TARGET, rows, added),
        ]
        return Program(TARGET, [(range(LAYERS), calls)])


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 7])
def test_the_calls_are_made_in_order_with_each_layers_numbers(count: int, threads: int) -> None:
    layers, rows = Layers(), some(count, WIDTH, seed=9)
    torch.set_num_threads(1)
    expected = layers.one_by_one(rows)
    torch.set_num_threads(threads)
    for _ in range(10):
        out = rows.clone()
        layers.program(out).run()
        assert torch.equal(out, expected)


def test_a_program_can_be_run_in_parts() -> None:
    layers, rows = Layers(), some(3, WIDTH, seed=9)
    out = rows.clone()
    program = layers.program(out)
    for first in range(0, 3 * LAYERS, 4):
        program.run(first, min(first + 4, 3 * LAYERS))
    assert torch.equal(out, layers.one_by_one(rows))


def test_a_thread_that_comes_late_finds_nothing_left_to_do() -> None:
    layers, rows = Layers(), some(7, WIDTH, seed=9)
    torch.set_num_threads(1)
    expected = layers.one_by_one(rows)
    program = layers.program(rows)
    program.run()
    assert torch.equal(rows, expected)
    program.run()
    assert torch.equal(rows, expected)


def test_it_is_carried_out_again_with_other_calls_in_the_place_of_some() -> None:
    layers, rows, others = Layers(), some(7, WIDTH, seed=9), some(7, WIDTH, seed=10)
    expected, expected_of_others = layers.one_by_one(rows), layers.one_by_one(others)
    first, kept = rows.clone(), rows.clone()
    program = layers.program(kept)
    for number in range(4):
        kept.copy_(others if number % 2 else first)
        program.again([(2, [kernels.add(TARGET, kept, layers.added)])])
        program.run()
        assert torch.equal(kept, expected_of_others if number % 2 else expected)
    elsewhere = rows.clone()
    kept.copy_(rows)
    program.again([(2, [kernels.add(TARGET, elsewhere, layers.added)])])
    program.run()
    assert torch.equal(kept, rows), "what was added went elsewhere"
    assert not torch.equal(elsewhere, rows)


def test_pythons_threads_do_too() -> None:
    layers, rows = Layers(), some(3, WIDTH, seed=9)
    expected = layers.one_by_one(rows)
    torch.set_num_threads(3)
    layers.program(rows).run(threads=PythonThreads())
    assert torch.equal(rows, expected)


FEWER = """
import torch
from backends.cpu.kernels.test_program import Layers, WIDTH, some
torch.set_num_threads(4)
layers, rows = Layers(), some(3, WIDTH, seed=9)
expected = layers.one_by_one(rows)
layers.program(rows).run()
assert torch.equal(rows, expected)
print("met")
"""


@pytest.mark.parametrize("setting", [{"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}])
def test_fewer_threads_than_were_asked_for(setting: dict[str, str]) -> None:
    command = [sys.executable, "-c", FEWER]
    paths = os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")])
    out = subprocess.run(
        command, env={**os.environ, **setting, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=120, check=False
    )
    assert out.stdout.strip() == "met", out.stderr
