"""The bound: what a model computes and reads, and the times of an ideal engine."""

from collections.abc import Callable
from typing import Any

import pytest

from foreword.backends.registry import make_backend
from foreword.bench import WORKLOADS, Limits, ModelWork, ideal_rounds
from foreword.bench.bounds import LayerWork
from foreword.bench.workloads import Answer, Ask, Round
from foreword.engine.model import load_model
from foreword.weights.safetensors import SafetensorsCheckpoint

HIDDEN, INTER, HEADS, KV_HEADS, SIZE, LAYERS, VOCAB = 64, 96, 4, 2, 16, 3, 320
"""Of the tiny models."""
BODY = LAYERS * (2 * HIDDEN * HEADS * SIZE + 2 * HIDDEN * KV_HEADS * SIZE + 3 * HIDDEN * INTER)
ARITHMETIC_ONLY = Limits(gflops=1.0, linear_gflops=1.0, read_gb_s=1e9)
READING_ONLY = Limits(gflops=1e9, linear_gflops=1e9, read_gb_s=1.0)


def work_of(path: str, **options: Any) -> ModelWork:
    backend = make_backend("cpu", 16, **options)
    return ModelWork.of(load_model(SafetensorsCheckpoint(path), backend), backend)


def test_a_model_is_asked_for_its_work(model_dir: Callable[..., str]) -> None:
    work = work_of(model_dir("llama"))
    assert (work.body, work.head) == (BODY, VOCAB * HIDDEN)
    assert work.weight_bytes == 4 * (BODY + VOCAB * HIDDEN)
    assert work.layers == (LayerWork(2 * HEADS * 2 * SIZE, KV_HEADS * 2 * SIZE * 4, None),) * LAYERS


def test_int8_and_bfloat16_read_less_and_windows_are_seen(model_dir: Callable[..., str]) -> None:
    work = work_of(model_dir("gemma2"), quantization="int8", kv_dtype="bfloat16")
    assert work.weight_bytes == work.body + work.head
    assert [layer.kv_bytes for layer in work.layers] == [KV_HEADS * 2 * SIZE * 2] * LAYERS
    assert [layer.window for layer in work.layers] == [40, None, 40]
    work = work_of(model_dir("llama"), kv_dtype="int8")
    assert [layer.kv_bytes for layer in work.layers] == [KV_HEADS * (2 * SIZE + 8)] * LAYERS, "with its scales"


WORK = ModelWork(body=1000, head=100, weight_bytes=10_000, layers=(LayerWork(8, 16, None), LayerWork(8, 16, 4)))


def test_a_step_takes_as_long_as_its_arithmetic_or_its_reading() -> None:
    pairs = (3 * 5 + 6) + (3 * 4)  # three tokens behind five; the second layer sees four keys a token
    flops = 2 * 1000 * 3 + 2 * 100 + 8 * pairs
    assert WORK.step_seconds(ARITHMETIC_ONLY, [(3, 5)], context=5) == pytest.approx(flops / 1e9)
    read = 10_000 + 16 * 5 + 16 * 4
    assert WORK.step_seconds(READING_ONLY, [(3, 5)], context=5) == pytest.approx(read / 1e9)
    both = Limits(gflops=1.0, linear_gflops=1.0, read_gb_s=1.0)
    assert WORK.step_seconds(both, [(3, 5)], context=5) == pytest.approx(max(flops, read) / 1e9)


@pytest.mark.parametrize(("count", "old", "pairs"), [(1, 0, 1), (4, 0, 10), (6, 0, 18), (1, 2, 3), (2, 3, 8), (1, 9, 4)])
def test_a_window_cuts_the_pairs(count: int, old: int, pairs: int) -> None:
    plainly = sum(min(position + 1, 4) for position in range(old, old + count))
    assert plainly == pairs
    only = ModelWork(0, 0, 0, (LayerWork(1, 0, 4),))
    assert only.step_seconds(ARITHMETIC_ONLY, [(count, old)], 0) == pytest.approx(pairs / 1e9)


def sent(*batches: list[tuple[list[int], int]]) -> list[Round]:
    return [
        Round([Ask(*ask) for ask in batch], [Answer([900 + i] * n, 0, 9.0, 9.0) for i, (_, n) in enumerate(batch)])
        for batch in batches
    ]


def test_shared_tokens_are_computed_once_and_read_once() -> None:
    head = list(range(10))
    only_linear = ModelWork(body=1, head=0, weight_bytes=0, layers=())
    (ideal,) = ideal_rounds(only_linear, ARITHMETIC_ONLY, sent([([*head, 50], 1), ([*head, 60], 1)]))
    assert [answer.cached for answer in ideal.answers] == [0, 10]
    assert ideal.wall == pytest.approx(2 * 12 / 1e9)
    only_kv = ModelWork(body=0, head=0, weight_bytes=0, layers=(LayerWork(0, 1, None),))
    (ideal,) = ideal_rounds(only_kv, READING_ONLY, sent([([*head, 50], 3), ([*head, 60], 2)]))
    # the prompts are new; then 12 tokens are read for both; then 12, and the two generated ones, for the one that goes on
    assert ideal.answers[0].first == 0
    assert ideal.answers[1].last == pytest.approx(12 / 1e9)
    assert ideal.answers[0].last == pytest.approx((12 + 13) / 1e9)


def test_what_was_computed_before_is_known_but_for_the_last_token() -> None:
    only_linear = ModelWork(body=1, head=0, weight_bytes=0, layers=())
    rounds = sent([([1, 2, 3], 2)], [([1, 2, 3, 900, 900, 4], 1)], [([1, 2, 3], 1)])
    ideal = ideal_rounds(only_linear, ARITHMETIC_ONLY, rounds)
    assert [each.answers[0].cached for each in ideal] == [0, 4, 2]
    apart = ideal_rounds(only_linear, ARITHMETIC_ONLY, rounds, sharing=False)
    assert [each.answers[0].cached for each in apart] == [0, 0, 0]


def test_without_sharing_each_request_reads_for_itself() -> None:
    only_kv = ModelWork(body=0, head=0, weight_bytes=0, layers=(LayerWork(0, 1, None),))
    (ideal,) = ideal_rounds(only_kv, READING_ONLY, sent([([1, 2, 3], 2), ([1, 2, 3], 2)]), sharing=False)
    assert ideal.wall == pytest.approx(6 / 1e9)


def test_the_table_of_the_peers_model() -> None:
    """Figures known from the 0.22 B model (16 layers, width 1,024) at 255 GFLOP/s and 24 GB/s."""
    per_layer = 2 * 1024 * 1024 + 2 * 1024 * 512 + 3 * 1024 * 2816
    head = 32000 * 1024
    work = ModelWork(16 * per_layer, head, 4 * (16 * per_layer + head), (LayerWork(4 * 1024, 4096, None),) * 16)
    limits = Limits(255.0, 255.0, 24.0)
    bounds = {}
    for name, workload in WORKLOADS.items():
        rounds = workload.run("0", 32000, lambda asks: [Answer([5] * ask.n_out, 0, 1.0, 2.0) for ask in asks])
        ideal = ideal_rounds(work, limits, rounds)
        bounds[name] = [measure.read(ideal) for measure in workload.measures if measure.bounded]
    assert bounds["table"] == pytest.approx([3.6, 0.049, 23.5], rel=0.05)
    assert bounds["crowd"] == pytest.approx([166, 234], rel=0.05)
    assert bounds["chat"][0] == pytest.approx(24, rel=0.05)
    assert bounds["long"][1] == pytest.approx(120, rel=0.05)
