"""The probe tells sharing from isolation."""

import time
from typing import Any

import pytest

from foreword.bench.isolation import ProbeReport, Separation, probe_isolation, separation
from foreword.errors import CredentialsError, ParameterError, ServiceError
from foreword.server.tenants import load_tenants
from server.live import Live


def slow_prefill(live: Live) -> None:
    """A prompt token takes 0.2 ms more, so that the probe does not depend on noise."""
    live.runner.before = lambda step: time.sleep(0.0002 * step.num_tokens)


@pytest.mark.parametrize(("share", "told"), [("tenant", False), ("public-prefix", False), ("all", True)])
def test_hits_stand_out_across_tenants_only_where_they_share(serve: Any, share: str, told: bool) -> None:
    live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"}), share=share)
    slow_prefill(live)
    report = probe_isolation(live.url, "a", "b", samples=15, characters=400)
    assert report.within.auc > 0.9
    assert report.told_apart or not told
    assert (report.across.auc > 0.9) is told


def test_separation_counts_pairs() -> None:
    assert separation([1, 2], [3, 4]).auc == 1
    assert separation([3, 4], [1, 2]).auc == 0
    assert separation([1, 2], [1, 2]).auc == 0.5
    assert separation([1, 3], [2]).auc == 0.5
    assert separation([1], [2]).error == 0
    with pytest.raises(ParameterError, match="at least one"):
        separation([], [1])


def test_told_apart_needs_three_standard_errors() -> None:
    within = Separation(1, 0, 0, 0)
    assert ProbeReport(9, Separation(0.7, 0.06, 0, 0), within).told_apart
    assert not ProbeReport(9, Separation(0.7, 0.07, 0, 0), within).told_apart


def test_errors_are_said(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a"}))
    with pytest.raises(CredentialsError, match="does not know one"):
        probe_isolation(live.url, "x", "a", samples=2)
    with pytest.raises(ServiceError, match="There is no server"):
        probe_isolation("http://127.0.0.1:1", "", "")
    with pytest.raises(ServiceError, match="answered 400"):
        probe_isolation(live.url, "a", "a", samples=2, characters=9000)
