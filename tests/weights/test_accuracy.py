"""The benchmark that says what formats change: its measures on numbers known by hand, its table of a tiny model."""

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from foreword.weights.gguf import GgufCheckpoint
from weights.gguf_files import write_gguf

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy.py"
TOKENS = 40
PROJECTION = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def accuracy() -> Iterator[Any]:
    """The script, which finds its neighbours as when it is run."""
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("accuracy_of_benchmarks", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(SCRIPT.parent))


def test_perplexity_of_even_odds_is_the_vocabulary_and_of_certainty_one(accuracy: Any) -> None:
    ids = [3, 1, 4, 1, 5]
    assert accuracy.perplexity([torch.zeros(5, 8)], ids) == pytest.approx(8)
    sure = torch.full((5, 8), -100.0)
    for place, following in enumerate(ids[1:]):
        sure[place, following] = 100.0
    assert accuracy.perplexity([sure], ids) == pytest.approx(1)


def test_a_distance_counts_tokens_and_sums_divergences(accuracy: Any) -> None:
    exact = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    other = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]))
    same = accuracy.distance([exact], [exact])
    assert (same.equal, same.positions, same.kl) == (2, 2, 0.0)
    off = accuracy.distance([other], [exact])
    assert (off.equal, off.positions) == (1, 2)
    assert off.kl == pytest.approx((0.5 * math.log(2) - 0.25 * math.log(2)) / 2)


def test_weights_in_a_format_are_what_it_stands_for(accuracy: Any, model_dir: Callable[..., str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), "F32")
    stored = GgufCheckpoint(path, "model").tensor(PROJECTION)
    halved = write_gguf(tmp_path / "halved.gguf", model_dir("llama"), "F16")
    found = accuracy.InFormat(halved, "model", "q8_0").tensor(PROJECTION)
    assert stored is not None
    block = stored.view(-1, 32)
    step = block.abs().amax(1, keepdim=True) / 127
    off = (found.view(-1, 32) - block).abs()
    assert bool((off <= 0.51 * step + 1e-3 * block.abs().amax()).all())
    assert bool((off > 0.1 * step).any()), "it is not the file's own"


def test_the_table_of_a_tiny_model(accuracy: Any, model_dir: Callable[..., str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", model_dir("llama"), "Q8_0")
    rows = {row["numbers"]: row for row in accuracy.measure(str(path), ["f16", "q4_0"], TOKENS)}
    assert list(rows) == [
        *(f"q8_0, as in the file, rows in {bits} bits" for bits in (8, 16)),
        *(f"float32, KV in {kind}" for kind in ("bfloat16", "int8")),
        "f16",
        *(f"q4_0, rows in {bits} bits" for bits in (8, 16)),
    ]
    kl = {name: float(row["KL"]) for name, row in rows.items()}
    assert kl["f16"] == 0
    assert rows["f16"]["greedy tokens as float32"] == "100.00 %"
    for name in ("q8_0, as in the file", "q4_0"):
        assert kl[f"{name}, rows in 8 bits"] > 0
        assert kl[f"{name}, rows in 16 bits"] < kl[f"{name}, rows in 8 bits"] / 100
    assert all(kl[f"float32, KV in {kind}"] > 0 for kind in ("bfloat16", "int8"))
    for row in rows.values():
        assert row["differ"] == round(TOKENS * (1 - float(row["greedy tokens as float32"].removesuffix(" %")) / 100))
        assert 1 < row["in float32"] < 10_000
