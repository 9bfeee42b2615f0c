"""Workloads on a tiny model: figures, accounts, and the machine's limits."""

import json
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

import pytest

from engine.checks import assert_settled
from engine.making import Made
from foreword.backends.cpu.formats import PLAIN, QUANTIZATIONS
from foreword.backends.registry import make_backend
from foreword.bench import Limits, choose_workloads, measure_limits, repeat_workloads
from foreword.bench.machine import watching_others

TABLE = choose_workloads(["table"], 1 / 32, 1024)


def known_limits() -> Callable[[object], Limits]:
    """The machine gets better from one measurement to the next."""
    found = iter([Limits(1e6, 1e6, 1e6), Limits(2e6, 3e6, 1e6)])
    return lambda _: next(found)


def test_figures_stand_beside_bounds_and_tokens_add_up(make_engine: Callable[..., Made]) -> None:
    made = make_engine(kv_cache_memory_bytes=2**23, max_num_seqs=32)
    engine = made.engine
    chosen = choose_workloads([], 1 / 32, engine.info.max_model_len)
    answered = Counter[str]()
    results, limits = repeat_workloads(made.parts, engine, chosen, 2, lambda name: answered.update([name]), known_limits())
    assert limits == Limits(2e6, 3e6, 1e6)
    assert answered == {each.name: 2 * each.requests for each in chosen}
    for result in results:
        assert result.prompt_tokens == result.cached_tokens + result.computed_tokens
        assert result.repetitions == 2
        for figure in result.figures:
            assert 0 < figure.least <= figure.median <= figure.most
            if figure.share_of_bound is not None:
                assert 0 < figure.share_of_bound < 1
    table, crowd, chat, long = results
    prefix = table.workload.sizes.prefix
    assert 15 * prefix <= table.cached_tokens < 15 * (prefix + 3)
    assert crowd.cached_tokens >= 63 * crowd.workload.sizes.prefix
    assert chat.cached_tokens > 0
    assert long.cached_tokens >= 8 * long.workload.sizes.prefix
    assert [figure.bound is None for figure in long.figures] == [False, False, False, True]
    assert json.loads(json.dumps([result.as_json() for result in results]))[0]["workload"] == "table"
    assert_settled(engine)


def test_without_the_cache_everything_is_computed(make_engine: Callable[..., Made]) -> None:
    made = make_engine(enable_prefix_caching=False, kv_cache_memory_bytes=2**23)
    (result,), _ = repeat_workloads(made.parts, made.engine, TABLE, 1, lambda _: None, known_limits())
    assert result.cached_tokens == 0
    assert result.figures[0].bound == pytest.approx(result.figures[1].bound, rel=0.1)


def test_a_request_that_fails_ends_the_run(make_engine: Callable[..., Made]) -> None:
    made = make_engine()

    def broken(*_: object) -> NoReturn:
        raise MemoryError("made by the test")

    made.runner.hook = broken
    with pytest.raises(RuntimeError, match="MemoryError"):
        repeat_workloads(made.parts, made.engine, TABLE, 1, lambda _: None, known_limits())


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_limits_are_rates_of_this_machine(quantization: str) -> None:
    limits = measure_limits(make_backend("cpu", 16, quantization=quantization), seconds=0.0, read_bytes=2**24)
    assert limits.gflops > 0.01
    assert limits.read_gb_s > 0.01
    assert (limits.linear_gflops == limits.gflops) == (quantization in ("none", PLAIN)), "of plain float32 only"


def test_the_load_of_others_is_noted() -> None:
    noted: dict[str, float] = {}
    with watching_others(noted):
        pass
    assert noted["other_cores"] >= 0
