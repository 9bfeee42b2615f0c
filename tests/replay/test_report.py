"""Results, costs and reports: exact small figures."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.account import Account, Source
from foreword.cache import CacheConfig
from foreword.engine.runner import Step, StepChunk
from foreword.errors import ConfigError, ParameterError
from foreword.observe.savings import CostModel
from foreword.replay import Cell, ReplayConfig, costs_from_rates, costs_from_report, grid
from foreword.replay.report import COLUMNS, amount, duration, row, svg
from foreword.replay.result import Distribution, Tally


@given(st.lists(st.floats(1e-5, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_right_within_half_a_per_cent(values: list[float], share: float) -> None:
    found = Distribution()
    for value in values:
        found.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert found.quantile(share) == pytest.approx(exact, rel=0.005)


def test_nothing_has_no_quantile_and_extremes_are_taken() -> None:
    found = Distribution()
    assert found.quantile(0.5) is None
    found.add(0.0)
    found.add(1e12)
    assert found.count == 2


def tally(cached: int, computed: int) -> Tally:
    made = Tally()
    made.add(Account(cached + computed, {Source.CACHED: cached, Source.COMPUTED: computed}), 5, 0.25)
    return made


def cells() -> list[Cell]:
    results = [tally(cached, 100 - cached).result(7, 0, 10.0, 5.0) for cached in (20, 60, 25, 75)]
    return [
        Cell(cache, result)
        for cache, result in zip(grid(CacheConfig(), [64, 256], ["lru", "protected-lru"]), results, strict=True)
    ]


def test_a_grid_has_every_size_with_every_policy_once() -> None:
    found = grid(CacheConfig(block_size=8), [256, 64, 64], ["protected-lru", "lru", "lru"])
    assert [(each.eviction_policy, each.num_blocks) for each in found] == [
        ("protected-lru", 64), ("protected-lru", 256), ("lru", 64), ("lru", 256),
    ]  # fmt: skip
    assert {each.block_size for each in found} == {8}


def test_a_policy_that_learns_sees_what_comes_back() -> None:
    found = grid(CacheConfig(ghost_ratio=0.0), [64], ["lru", "learned"])
    assert [each.ghost_ratio for each in found] == [0.0, CacheConfig.ghost_ratio]


def test_a_row_has_counts_and_times() -> None:
    found = dict(zip(COLUMNS, row(cells()[1]), strict=True))
    assert found["policy"] == "lru"
    assert found["cache"] == "4.1k"
    assert found["hit rate"] == "60.0%"
    assert (found["cached"], found["shared in flight"], found["computed"]) == ("60", "0", "40")
    assert found["TTFT p50"] == "250 ms"
    assert found["busy"] == "50%"


def test_a_result_as_json_counts_every_source() -> None:
    found = cells()[0].result.as_json()
    assert found["by_source"] == {source.value: {"cached": 20, "computed": 80}.get(source.value, 0) for source in Source}
    assert found["hit_rate"] == pytest.approx(0.2)


def test_the_picture_is_valid_and_the_same_each_time() -> None:
    text = svg(cells(), "a <trace> & more")
    assert text == svg(cells(), "a <trace> & more")
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    words = [each.text for each in root.iter(f"{name}text")]
    assert {"a <trace> & more", "lru", "protected-lru", "1.02k", "4.1k", "100%"} <= set(words)
    assert len(list(root.iter(f"{name}circle"))) == 4 + 2


def test_one_size_can_be_drawn() -> None:
    ElementTree.fromstring(svg(cells()[:1], "one"))


def test_numbers_in_short() -> None:
    assert [amount(count) for count in (7, 4096, 1_048_576, 3 * 10**9)] == ["7", "4.1k", "1.05M", "3G"]
    assert [duration(each) for each in (None, 0.0123, 12.34, 7200.0)] == ["-", "12.3 ms", "12.3 s", "2 h"]


def chunk(start: int, end: int, prompt: int) -> StepChunk:
    return StepChunk("r", start, end, np.zeros(end, np.int32), np.zeros(1, np.int32), prompt)


def test_a_step_costs_its_tokens_their_pairs_and_who_generates() -> None:
    costs = costs_from_report(
        {
            "cost_model": {"per_step": 1.0, "per_token": 0.1, "per_pair": 0.001, "per_generating": 0.5, "observations": 9},
            "model": "m",
        },
        "f",
    )
    step = Step((chunk(10, 20, 30), chunk(30, 31, 30), chunk(40, 41, 30)))
    assert costs.step_seconds(step) == pytest.approx(1.0 + 0.1 * 10 + 0.001 * sum(range(10, 20)) + 0.5 * 2)
    assert costs.alone_seconds(10, 20, 5) == pytest.approx(2.0 + 1.0 + 0.145)
    assert costs.origin == "9 steps measured by foreword bench on m (f)"


def test_rates_become_a_cost_model() -> None:
    assert costs_from_rates(200, 30).model == CostModel(0.03, 0.005, 0.0, 0.0, 0)
    for rates in ((0, 30), (200, -1), (float("nan"), 1)):
        with pytest.raises(ParameterError, match="must be more than 0"):
            costs_from_rates(*rates)


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"cost_model": 3},
        {"cost_model": {"per_step": 1.0}},
        {"cost_model": dict.fromkeys(("per_step", "per_token", "per_pair", "per_generating", "observations"), 0)},
    ],
)
def test_a_file_without_measured_steps_is_refused_with_the_way_out(report: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"file.json has no 'cost_model'.*foreword bench --json"):
        costs_from_report(report, "file.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loop": "gpu"}, "loop is 'gpu'; known: engine, cache"),
        ({"speed": 0.0}, "speed is 0"),
        ({"blocks": ()}, "at least one value"),
        ({"blocks": (0,)}, "num_blocks is 0"),
        ({"policy": ("fifo",)}, "'fifo'; known policies: lru"),
        ({"block_size": 0}, "block_size is 0"),
        ({"prefill_rate": 5.0}, "given together"),
        ({"trace_block": 0}, "trace_block is 0"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReplayConfig(**options)  # type: ignore[arg-type]
