"""Which path is chosen: what a processor has, what was asked for, and what computes rightly."""

import logging
from typing import get_args

import pytest

from foreword.backends.base import BackendOptions
from foreword.backends.cpu.backend import CpuBackend
from foreword.backends.cpu.kernels.dots import Bits
from foreword.backends.cpu.kernels.target import PATHS, Target, targets
from foreword.backends.cpu.path_check import differs
from foreword.errors import ConfigError, ModelError

OLD = {"avx2": True, "fma": True, "f16c": True}
NEW = {**OLD, "avx512f": True, "avx512bw": True, "avx512vl": True, "avx512dq": True, "avx512vnni": True, "amx-int8": True}


def names(features: dict[str, bool], wanted: str = "auto") -> list[str]:
    return [target.path for target in targets(wanted, features)]


def test_the_best_path_comes_first() -> None:
    assert names(OLD) == ["avx2", "plain"]
    assert names(NEW) == ["avx512-vnni", "avx512", "avx2", "plain"]
    assert names({**NEW, "avx512vnni": False}) == ["avx512", "avx2", "plain"]
    assert names({**OLD, "avxvnni": True}) == ["avx-vnni", "avx2", "plain"]
    assert names({"neon": True, "dotprod": True}) == ["neon-dotprod", "plain"]
    assert names({}) == ["plain"]


def test_a_path_can_be_lowered_and_leaves_out_what_is_above_it() -> None:
    assert names(NEW, "avx2") == ["avx2", "plain"]
    features = targets("avx2", NEW)[0].features.split(",")
    assert {"+avx2", "+fma", "-avx512f", "-avx512vnni", "-amx-int8"} <= set(features)
    assert {"+avx512f", "-avx512vnni"} <= set(targets("avx512", NEW)[0].features.split(","))


def test_a_path_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="kernel_path is 'avx9'; known: auto, avx512-vnni, "):
        targets("avx9")
    with pytest.raises(ConfigError, match="kernel_path is 'avx512', which this processor has not; it has avx2, plain"):
        targets("avx512", OLD)


@pytest.mark.parametrize("bits", get_args(Bits))
@pytest.mark.parametrize("name", ["float32", "int8", "q4_0", "q6_k"])
def test_every_path_of_this_machine_computes_rightly(name: str, bits: Bits) -> None:
    assert not [target.path for target in targets() if differs(target, name, bits)]


class Source:
    """A WeightSource of numbers alone."""

    def block_formats(self) -> dict[str, str]:
        return {}

    def blocks(self, name: str) -> object:
        raise KeyError(name)

    def tensor(self, name: str) -> None:
        """None."""

    def release_pages(self) -> None:
        pass


def prepared(wrong: set[str], caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
    """A backend on a machine where some paths compute wrongly: its words, and the warnings."""
    from torch import nn

    def differs(target: Target, *_: object) -> bool:
        return target.path in wrong

    backend = CpuBackend(BackendOptions("cpu"), differs)
    with caplog.at_level(logging.WARNING, "foreword"):
        backend.prepare(nn.ModuleDict({"a": nn.Linear(32, 32)}), [], Source())  # type: ignore[arg-type]
    return backend.describe().words, [record.getMessage() for record in caplog.records]


def test_a_path_that_differs_is_left_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    best, *lower = [target.path for target in targets()]
    if not lower:
        pytest.skip("this machine has one path")
    words, warnings = prepared({best}, caplog)
    assert PATHS[lower[0]].words in words
    assert len(warnings) == 1
    assert PATHS[best].words in warnings[0]
    assert "float32 wrongly" in warnings[0]


def test_a_machine_without_a_right_path_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match="No kernels compute weights in float32 rightly"):
        prepared(set(PATHS), caplog)
