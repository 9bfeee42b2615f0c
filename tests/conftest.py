"""For all tests: how threads wait for each other, a cache folder that is theirs, and the longest test first."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning at barriers costs 50 times on a busy machine

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")  # a machine may stand still; also in CI, where hypothesis draws the same examples each time

SLOW = (
    "server/test_soak.py",
    "server/test_readme.py",
    "server/test_agents.py",
    "server/test_body_shape.py::test_the_shape_of_valid_json",
    "server/test_structured_answers.py::test_a_call_is_forced_in_every_form",
    "server/test_openapi.py",
    "server/test_agent_log.py",
    "server/operator/test_page.py",
    "server/operator/test_commands.py",
    "server/test_limits.py::test_a_reader_that_does_not_read",
    "server/test_serve_commands.py::test_it_serves_says_where",
    "server/test_serve_commands.py::test_the_probe_says_what_can_be_told",
    "server/anthropic/test_marks.py::test_a_flood_of_one_off_prompts",
    "bench/test_isolation.py",
    "bench/test_runs.py::test_limits_are_rates_of_this_machine",
    "engine/test_environment.py",
    "engine/test_bit_identity.py",
    "engine/test_little_memory.py",
    "engine/test_sampler.py::test_a_mask_is_as_if",
    "engine/test_structured_outputs.py::test_it_holds_for_any_weights",
    "engine/test_detokenizer.py::test_a_stream_is_the_text",
    "engine/test_detokenizer.py::test_a_byte_level_vocabulary",
    "engine/test_smollm2.py",
    "engine/test_drafted_answers.py",
    "engine/test_drafting.py::test_answers_are_the_same",
    "engine/test_drafting.py::test_a_drafter_that_proposes_rubbish",
    "engine/test_findings.py::test_the_second_start",
    "engine/test_structured_outputs.py::test_a_form_that_becomes_too_complex",
    "engine/test_tenants.py::test_a_late_tenant",
    "backends/cpu/test_kv_memory.py::test_a_second_memory",
    "backends/cpu/test_kv_memory.py::test_freed_memory",
    "backends/test_kept_files.py::test_other_processes",
    "backends/cpu/kernels/test_program.py::test_fewer_threads",
    "backends/cpu/kernels/test_target.py::test_every_path",
    "backends/cpu/test_stored_blocks.py::test_products_are_those",
    "backends/cpu/kernels/test_warm_up.py",
    "cache/test_properties.py",
    "testing/test_killed_engine.py",
    "testing/test_killed_writer.py",
    "cli/test_store.py",
    "engine/test_store_faults.py::test_a_disk_that",
    "engine/test_store_faults.py::test_a_server_that",
    "engine/test_store_faults.py::test_two_engines",
    "tiers/test_packs.py::test_hot_blocks_of_a_pack",
    "tiers/test_packs.py::test_rights_that_are_taken",
    "tiers/test_packs.py::test_a_disk_that_others_fill",
    "tiers/test_shared_stores.py::test_a_server_that_is_killed",
    "cache/test_marks.py::test_a_flood_of_one_off_prompts",
    "cache/test_marks.py::test_a_marked_prefix_within_the_budget",
    "cache/test_marks.py::test_many_marks_that_come_and_go",
    "cache/test_marks.py::test_marks_that_come_and_go_do_not",
    "cache/test_namespace.py::test_a_key_is_the_same_in_every_process",
    "weights/test_safetensors.py::test_a_python_without_docstrings",
    "audit/test_robustness.py",
    "audit/test_planted_logs.py::test_other_seeds",
    "audit/test_conversations.py::test_conversations_are_bounded",
    "audit/test_tokens.py::test_faults_are_found_with_a_real_template_too",
    "audit/test_rules.py::test_tools_of_ever_new_names_are_bounded",
    "cluster/test_failover.py",
    "cluster/test_fleet.py::test_a_replica_that_is_to_end",
    "cluster/test_ray.py",
    "cluster/test_shared_store.py",
    "deploy/test_ray.py",
    "cli/test_cli.py",
    "cli/test_audit.py",
    "cli/test_replay.py",
    "observe/test_curve.py::test_within_two_points",
    "observe/test_prefixes.py::test_a_million",
    "observe/test_prefixes.py::test_the_error_bound",
    "prompt/test_canonical.py::test_same_meaning",
    "prompt/test_canonical.py::test_another_meaning",
    "replay/test_loops.py::test_memory_does_not_grow",
    "replay/test_published.py",
    "docs/test_tutorial.py::test_the_lessons",
    "docs/test_site.py::test_it_builds",
    "test_packaging.py::test_a_pure_folder",
    "test_packaging.py::test_what_needs_torch",
)
"""Tests, by the beginning of their ids below tests/, that `make check` leaves to `make test`: they start processes, load
models anew, or try thousands of cases."""


LONGEST = (
    "server/test_soak.py",
    "engine/test_bit_identity.py",
    "bench/test_isolation.py",
    "cli/test_cli.py",
    "engine/test_environment.py",
    "docs/test_tutorial.py",
    "server/test_readme.py",
    "engine/test_fingerprint.py",
    "weights/test_safetensors.py",
    "server/operator/test_page.py",
    "engine/test_structured_outputs.py",
    "cluster/test_ray.py",
    "server/test_serve_commands.py",
    "replay/test_loops.py",
)
"""Files whose tests take a good part of a minute. They come first, so that no worker is alone with one at the end."""


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs is kept between tests, and nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files are first, slow tests are marked."""
    places = {name: place for place, name in enumerate(LONGEST)}
    names = {item: item.nodeid.split("tests/")[-1] for item in items}
    items.sort(key=lambda item: places.get(names[item].split("::")[0], len(LONGEST)))
    for item in items:
        if names[item].startswith(SLOW):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """What collecting left stays to the end: no search for garbage, ours or Python's, goes through seven thousand tests."""
    gc.collect()
    gc.freeze()
