"""The key of an engine's blocks: what makes two engines share, and what a canary sees."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from foreword.backends.base import BackendOptions, Description, LayerCall
from foreword.backends.cpu.attention.tiled import TiledAttention
from foreword.backends.cpu.attention.tiles import Plan
from foreword.backends.cpu.backend import CpuBackend
from foreword.backends.cpu.kernels.target import best_target
from foreword.backends.cpu.kv_memory import PanelMemory
from foreword.backends.registry import make_backend
from foreword.cache import ModelFingerprint
from foreword.engine.fingerprint import model_fingerprint
from foreword.engine.model import load_model
from foreword.weights.safetensors import SafetensorsCheckpoint


def key_of(path: str, backend: Any, tested: bool = True) -> ModelFingerprint:
    return model_fingerprint(load_model(SafetensorsCheckpoint(path), backend), backend, tested)


@pytest.fixture
def path(model_dir: Callable[..., str]) -> str:
    return model_dir("llama")


def test_an_engine_that_is_started_again_has_the_same_key(path: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(path, tmp_path / "copy"))
    assert key_of(path, make_backend("cpu", 16)) == key_of(copy, make_backend("cpu", 16))


@pytest.mark.parametrize(("family", "own_kernels"), [("llama", True), ("gemma2", False)])
def test_the_number_of_threads_makes_no_difference_where_rows_are_known_to_be_independent(
    model_dir: Callable[..., str], family: str, own_kernels: bool
) -> None:
    """By construction and by the self-test; gemma's activations are torch's."""
    tested, untested = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        tested.append(key_of(model_dir(family), make_backend("cpu", 16)))
        untested.append(key_of(model_dir(family), make_backend("cpu", 16), tested=False))
    assert (tested[0] == tested[1]) is own_kernels
    assert untested[0].key != untested[1].key
    assert len({key.canary for key in (*tested, *untested)}) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("cpu", 32),
        ("cpu", 16, "bfloat16"),
        ("cpu", 16, "int8"),
        ("cpu", 16, "float32", "int8"),
        ("cpu", 16, "float32", "int8", None, "auto", 16),
        ("reference", 16),
    ],
    ids=str,
)
def test_what_blocks_depend_on_is_in_the_key(path: str, options: tuple[Any, ...]) -> None:
    one, other = key_of(path, make_backend("cpu", 16)), key_of(path, make_backend(*options))
    assert one.key != other.key
    assert one.canary != other.canary


@pytest.mark.parametrize("changed", ["weights", "rope"])
def test_other_files_are_another_model(path: str, tmp_path: Path, changed: str) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    if changed == "weights":
        data = bytearray((copy / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (copy / "model.safetensors").write_bytes(data)
    else:
        text = (copy / "config.json").read_text()
        (copy / "config.json").write_text(text.replace("10000.0", "20000.0"))
    one, other = key_of(path, make_backend("cpu", 16)), key_of(str(copy), make_backend("cpu", 16))
    assert one.weights != other.weights
    assert (one.rope != other.rope) is (changed == "rope")
    assert (one.canary != other.canary) or changed == "weights", "the last weight is not one that KV depend on"


class OffByABit(TiledAttention):
    """As on a processor that rounds the results of one row otherwise: of a single one, later sums may round it away."""

    def attend(self, prepared: Plan, memory: PanelMemory, call: LayerCall, query: torch.Tensor) -> torch.Tensor:
        out = super().attend(prepared, memory, call, query)
        if call.layer == 0:
            out.view(torch.int32)[20] ^= 1
        return out


class OtherWords(CpuBackend):
    """Another version of everything, with the same bits."""

    def describe(self) -> Description:
        found = super().describe()
        return replace(found, numerics=replace(found.numerics, machine="torch-99"))


class OtherOrder(CpuBackend):
    """Sums in another order, that a short prompt does not show."""

    def describe(self) -> Description:
        found = super().describe()
        return replace(found, numerics=replace(found.numerics, order="tiles of 512"))


def test_a_machine_whose_bits_differ_does_not_share(model_dir: Callable[..., str]) -> None:
    """In the last bit of one row's numbers; gemma's layers are not one program, so attention is asked layer by layer."""
    backend = CpuBackend(BackendOptions("cpu"))
    model = load_model(SafetensorsCheckpoint(model_dir("gemma2")), backend)
    key = model_fingerprint(model, backend, tested=True)
    backend.attention = OffByABit(best_target())
    assert model_fingerprint(model, backend, tested=True).canary != key.canary


def test_unlike_machines_share_when_their_bits_are_equal(path: str) -> None:
    key = key_of(path, make_backend("cpu", 16))
    assert key_of(path, OtherWords(BackendOptions("cpu"))) == key
    assert key_of(path, OtherWords(BackendOptions("cpu")), tested=False) != key
    assert key_of(path, OtherOrder(BackendOptions("cpu"))).key != key.key


def test_rotations_of_every_position_are_seen(path: str) -> None:
    """Of all frequencies that the model has, also where no token of the canary stands: here one that nobody uses."""
    backend = make_backend("cpu", 16)
    model = load_model(SafetensorsCheckpoint(path), backend)
    key = model_fingerprint(model, backend, tested=True)
    model.module.register_buffer("spare_inv_freq", torch.tensor([1.0]))
    spare = model_fingerprint(model, backend, tested=True)
    model.module.spare_inv_freq[0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert len({key.canary, spare.canary, model_fingerprint(model, backend, tested=True).canary}) == 3
