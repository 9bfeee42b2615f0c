"""Metrics and the log: every token once, under the names that dashboards read."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreword.cli.reference.metrics import metrics_page
from foreword.server.tenants import load_tenants
from foreword.serving.metrics import TokenGaps
from server.live import Live, live_server

SERIES = re.compile("_(bucket|count|sum)$")
DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/foreword.json"
ASKED: dict[str, Any] = {"model": "tiny", "prompt": "the quick brown fox jumps", "max_tokens": 4, "temperature": 0}
VLLM_NAMES = {
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:prompt_tokens_total",
    "vllm:prompt_tokens_cached_total",
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:num_preemptions_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:kv_block_lifetime_seconds_bucket",
    "vllm:kv_block_idle_before_evict_seconds_bucket",
    "vllm:kv_block_reuse_gap_seconds_bucket",
    "vllm:request_success_total",
}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(live: Live) -> Samples:
    with live.client(headers={"x-api-key": "a"}) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples
    }


def total(found: Samples, name: str, **labels: str) -> float:
    return sum(value for (other, given), value in found.items() if other == name and labels.items() <= dict(given).items())


@pytest.fixture
def asked(serve: Any) -> Live:
    """A server after a miss, a hit, an explicit request without the cache, and a refusal."""
    live: Live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"}), operators=("alice",))
    for key, body in (
        ("a", ASKED),
        ("a", {**ASKED, "stream": True}),
        ("b", {**ASKED, "prompt_cache_options": {"mode": "explicit"}}),
        ("b", {**ASKED, "temperature": -1}),
    ):
        with live.client(headers={"x-api-key": key}) as client:
            client.post("/v1/completions", json=body)
    live.settle()
    return live


def test_prompt_tokens_are_counted_once_by_source_and_tenant(asked: Live) -> None:
    found, length = samples(asked), len(asked.encode(ASKED["prompt"]))
    by_source = {
        source: [total(found, "foreword_prompt_tokens_total", source=source, tenant=tenant) for tenant in ("alice", "bob")]
        for source in ("cached", "shared_in_flight", "computed")
    }
    assert by_source == {"cached": [length - 1, 0], "shared_in_flight": [0, 0], "computed": [length + 1, length]}
    assert total(found, "vllm:prompt_tokens_total") == 3 * length
    assert total(found, "vllm:prompt_tokens_cached_total") == length - 1
    assert total(found, "vllm:prefix_cache_queries_total") == 2 * length, "who does not use the cache does not ask it"
    assert total(found, "vllm:prefix_cache_hits_total") == length - 1


def test_requests_are_counted_by_outcome(asked: Live) -> None:
    found = samples(asked)
    assert total(found, "foreword_requests_total", outcome="length") == 3
    assert total(found, "vllm:request_success_total", finished_reason="length") == 3
    assert total(found, "foreword_refused_requests_total", status="400") == 1
    assert total(found, "foreword_output_tokens_total", tenant="alice") == 8
    assert total(found, "vllm:time_to_first_token_seconds_count") == 3
    assert total(found, "vllm:inter_token_latency_seconds_count") == 9, "three gaps in each of three answers"
    assert total(found, "vllm:e2e_request_latency_seconds_count") == 3
    assert total(found, "foreword_hit_ends_total", reason="complete") == 1
    assert total(found, "foreword_engine_up") == 1


def test_what_stores_hold_and_bring_is_counted(engine_config: Any, tmp_path: Path) -> None:
    body = {**ASKED, "prompt": "the quick brown fox jumps over the lazy dog " * 12}
    usages = []
    for _ in range(2):  # the second one finds what the first one has left
        with live_server(engine_config(store=str(tmp_path)), served_model_name="tiny") as live:
            with live.client() as client:
                usages.append(client.post("/v1/completions", json=body).json()["usage"])
            live.settle()
            found = samples(live)
    length, stored = usages[1]["prompt_tokens"], usages[1]["prompt_tokens_details"]["cached_tokens"]
    assert usages[0]["prompt_tokens_details"]["cached_tokens"] == 0
    assert stored >= length - 17
    assert total(found, "foreword_prompt_tokens_total", source="stored_local") == stored
    assert total(found, "vllm:external_prefix_cache_queries_total") == length
    assert total(found, "vllm:external_prefix_cache_hits_total") == total(found, "vllm:prompt_tokens_cached_total") == stored
    assert total(found, "vllm:prefix_cache_hits_total") == 0, "memory had nothing"
    told = {SERIES.sub("", name) for name, _ in found if not name.endswith("_created")}
    assert not {name for name in told if f"| `{name}` |" not in metrics_page()}, "all that a server tells is on the page"
    ours = {"store": "stored_local"}
    assert total(found, "foreword_store_loaded_blocks_total", **ours) == stored // 16
    assert total(found, "foreword_store_blocks", **ours) >= stored // 16
    assert 0 < total(found, "foreword_store_used_bytes", **ours) < total(found, "foreword_store_max_bytes", **ours)
    assert total(found, "foreword_store_written_today_bytes", **ours) > 0
    reasons = {dict(labels).get("reason") for name, labels in found if name == "foreword_store_lost_loads_total"}
    assert reasons == {"stored_corrupt", "stored_other_identity", "load_failed", "load_slower"}
    for name in ("lost_loads_total", "failures_total", "left_alone", "set_aside", "refused_blocks_total"):
        assert total(found, f"foreword_store_{name}", **ours) == 0
    assert total(found, "foreword_store_dropped_blocks_total") == total(found, "foreword_store_queued_blocks") == 0


def test_without_a_store_there_are_no_figures_of_one(asked: Live) -> None:
    found = samples(asked)
    assert not [name for name, _ in found if name.startswith("foreword_store")]
    assert total(found, "vllm:external_prefix_cache_queries_total") == 0


def test_an_aborted_requests_tokens_are_counted_too(serve: Any) -> None:
    live: Live = serve()
    body = {**ASKED, "max_tokens": 900, "ignore_eos": True, "stream": True}
    with (
        live.before_steps(lambda _: time.sleep(0.05)),  # so that it has not ended before its client has left
        live.client() as client,
        client.stream("POST", "/v1/completions", json=body) as answer,
    ):
        assert next(answer.iter_lines()), "the first token, and so the whole prompt, is there"
    live.settle()
    found = samples(live)
    assert total(found, "foreword_requests_total", outcome="abort") == 1
    assert total(found, "foreword_prompt_tokens_total") == len(live.encode(ASKED["prompt"]))
    assert total(found, "vllm:request_success_total") == 0


def test_the_names_of_vllm_are_there(asked: Live) -> None:
    found = samples(asked)
    assert {name for name, _ in found} >= VLLM_NAMES
    assert all(dict(labels)["model_name"] == "tiny" for _, labels in found)


def test_the_dashboard_asks_for_what_is_exported(asked: Live, engine_config: Any, tmp_path: Path) -> None:
    """Every metric in it, with every label it selects or groups by; those of stores where there is one."""
    labels: dict[str, set[str]] = {}
    with live_server(engine_config(store=str(tmp_path)), served_model_name="tiny") as over_a_store:
        found = [*samples(asked), *samples(over_a_store)]
    for name, given in found:
        labels.setdefault(name, set()).update(label for label, _ in given)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) > 15
    for expression in expressions:
        asked_for = re.findall(r"((?:vllm:|foreword_)\w+)\{([^}]*)\}", expression)
        assert asked_for, expression
        for name, selected in asked_for:
            used = set(re.findall(r"(\w+)\s*!?=~?", selected))
            used |= {part.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for part in group.split(",")}
            assert name in labels, f"{name} is not exported"
            assert used <= labels[name], f"{name} has no label {used - labels[name]}"
        shown = [panel for panel in panels for target in panel["targets"] if target["expr"] == expression]
        assert shown[0]["title"]


def test_the_log_says_who_and_how_many_tokens_and_why_but_never_the_text(asked: Live) -> None:
    entries = [entry for entry in asked.log() if entry["event"] == "request"]
    assert [entry["tenant"] for entry in entries] == ["alice", "alice", "bob"]
    first, second, third = entries
    assert (first["cached"], first["miss_reason"]) == (0, "first_seen")
    assert (second["cached"], second["computed"], second["miss_reason"]) == (first["prompt_tokens"] - 1, 1, "complete")
    assert third["miss_reason"] == "disabled"
    assert all(entry["request_id"].startswith("cmpl-") and entry["output_tokens"] == 4 for entry in entries)
    assert "brown fox" not in asked.log_text.getvalue()


def test_prompts_are_logged_when_asked_for(serve: Any) -> None:
    live: Live = serve(log_prompts=True)
    with live.client() as client:
        client.post("/v1/completions", json=ASKED)
    live.settle()
    assert live.log()[-1]["prompt"] == ASKED["prompt"]


def test_sampled_blocks_tell_of_their_lives_when_they_are_evicted(serve: Any) -> None:
    live: Live = serve()
    with live.client() as client:
        for number in range(20):
            for _ in range(3):
                ids = [3 + number, *[5] * 899]
                client.post("/v1/completions", json={"model": "tiny", "prompt": ids, "max_tokens": 1}).raise_for_status()
    live.settle()
    found = samples(live)
    assert total(found, "foreword_evicted_tokens_total") > 101 * 16
    lives = total(found, "vllm:kv_block_lifetime_seconds_count")
    assert 20 * 56 // 101 > lives > 0, "some are in the cache still"
    assert total(found, "vllm:kv_block_idle_before_evict_seconds_count") == lives
    assert total(found, "vllm:kv_block_reuse_gap_seconds_count") == lives, "two uses each"
    times = [f"vllm:kv_block_{name}_seconds_sum" for name in ("lifetime", "idle_before_evict", "reuse_gap")]
    lifetime, idle, gap = (total(found, name) for name in times)
    assert lifetime > idle + gap > idle > 0


def test_times_between_tokens_are_those_between_steps() -> None:
    gaps = TokenGaps()
    gaps.step(0, 10.0)  # a prompt
    gaps.step(1, 10.02)
    gaps.step(3, 10.024)  # two more have begun meanwhile
    gaps.step(0, 90.0)
    gaps.step(1, 99.0)
    family = gaps.family("m")
    found = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert (found["0.0025"], found["0.005"], found["0.025"], found["5.0"], found["+Inf"]) == (0, 3, 4, 4, 5)
    assert [sample.value for sample in family.samples if sample.name.endswith("_sum")] == [pytest.approx(9.032)]
