"""The probe tells sharing from isolation, by time and by what is told."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foreword.bench.isolation import ProbeReport, Separation, probe_isolation, separation
from foreword.bench.parties import Doors, Party, two_parties
from foreword.bench.telling import Channel, TellingReport, probe_telling
from foreword.errors import CredentialsError, ParameterError, ServiceError
from foreword.server.tenants import load_tenants
from server.live import Live
from tiers.conftest import client_of


def slow_prefill(live: Live) -> None:
    """A prompt token takes 0.2 ms more, so that the probe does not depend on noise."""
    live.runner.before = lambda step: time.sleep(0.0002 * step.num_tokens)


def probed(told: bool, probe: Callable[[int], ProbeReport]) -> ProbeReport:
    """What the probe of one seed says; where that is not what is expected, that of another: one in 700 errs by chance."""
    first = probe(0)
    return first if first.told_apart is told else probe(1)


@pytest.mark.parametrize(("share", "told"), [("tenant", False), ("public-prefix", False), ("all", True)])
def test_hits_stand_out_across_tenants_only_where_they_share(serve: Any, share: str, told: bool) -> None:
    live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"}), share=share)
    slow_prefill(live)
    report = probed(told, lambda seed: probe_isolation(live.url, "a", "b", samples=12, characters=400, seed=seed))
    assert report.within.auc > 0.9
    assert report.told_apart is told
    assert report.telling.telling or not told, "cached tokens"
    assert (report.across.auc > 0.9) is told


@pytest.mark.parametrize(
    ("share", "keys", "told"),
    [("tenant", ("one", "one"), False), ("all", ("one", "another"), False), ("all", ("one", "one"), True)],
    ids=["another tenant", "another key", "the same key, and all is shared"],
)
def test_who_shares_a_store_is_told_nothing_without_the_tenants_key(
    serve: Any, tmp_path: Path, valkey_url: str, share: str, keys: tuple[str, str], told: bool
) -> None:
    """The victim asks at one server, the attacker at another; only what lies in the store between them can tell."""
    lives = []
    for number, key in enumerate(keys):
        file = tmp_path / f"key{number}"
        file.write_text(hashlib.sha256(key.encode()).hexdigest())
        tenants = load_tenants(None, {"FOREWORD_API_KEYS": "alice:a,bob:b"})
        lives.append(serve(engine={"shared_store": valkey_url, "store_key_file": str(file)}, tenants=tenants, share=share))
    slow_prefill(lives[0])
    ours, theirs = (live.url for live in lives)
    report = probed(
        told, lambda seed: probe_isolation(ours, "a", "b", samples=8, characters=300, seed=seed, victim_url=theirs)
    )
    store = client_of(valkey_url)
    assert store.dbsize() > 100, "it has what was asked"
    store.close()
    assert report.within.auc > 0.7
    assert report.told_apart is told


def test_separation_counts_pairs() -> None:
    assert separation([1, 2], [3, 4]).auc == 1
    assert separation([3, 4], [1, 2]).auc == 0
    assert separation([1, 2], [1, 2]).auc == 0.5
    assert separation([1, 3], [2]).auc == 0.5
    assert separation([1], [2]).error == 0
    with pytest.raises(ParameterError, match="at least one"):
        separation([], [1])


def test_told_apart_needs_three_standard_errors() -> None:
    within, told = Separation(1, 0, 0, 0), TellingReport(9, 1, 99, (), False)
    assert ProbeReport(9, Separation(0.7, 0.06, 0, 0), within, told, salts=False).told_apart
    assert not ProbeReport(9, Separation(0.7, 0.07, 0, 0), within, told, salts=False).told_apart


@pytest.mark.parametrize("keys", [("a", "a"), ("", "")])
def test_two_salts_under_one_key_are_told_nothing(serve: Any, keys: tuple[str, str]) -> None:
    known = {"FOREWORD_API_KEYS": "alice:a"} if keys[0] else {}
    live = serve(tenants=load_tenants(None, known))
    victim, attacker = two_parties(*keys)
    with live.client() as client:
        report = probe_telling(Doors(client, client), victim, attacker, digits=12)
    assert report.telling == ()
    assert report.operators_pages is (not keys[0])
    assert victim.salt != attacker.salt


def test_who_shares_is_told_every_digit(serve: Any) -> None:
    live = serve()
    with live.client() as client:
        report = probe_telling(Doors(client, client), Party(), Party(), digits=12)
    assert report.right >= 10, "fields that differ by chance vote, too"
    assert any("cached_tokens" in channel.name for channel in report.telling)
    assert report.interval[0] > 0.5


def test_a_channel_tells_when_chance_does_not_explain_it() -> None:
    assert Channel("x", 10, 1, 0.1).by_chance == pytest.approx(1 - 0.9**10)
    assert Channel("x", 3, 0, 0.0).by_chance == 1
    assert Channel("x", 3, 1, 0.0).by_chance == 0
    lucky, sure = Channel("x", 10, 3, 0.1), Channel("x", 10, 9, 0.1)
    assert TellingReport(10, 3, 99, (lucky, sure), False).telling == (sure,)


def test_errors_are_said(serve: Any) -> None:
    live = serve(tenants=load_tenants(None, {"FOREWORD_API_KEYS": "alice:a"}))
    with pytest.raises(CredentialsError, match="does not know one"):
        probe_isolation(live.url, "x", "a", samples=2)
    with pytest.raises(ServiceError, match="There is no server"):
        probe_isolation("http://127.0.0.1:1", "", "")
    with pytest.raises(ServiceError, match="answered 400"):
        probe_isolation(live.url, "a", "a", samples=2, characters=9000)
