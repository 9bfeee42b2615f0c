"""Whatever stands in a log, the audit ends, counts every line, and its reports can be written."""

import io
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from audit.generator import SCENARIOS, encoded, planted
from foreword.audit import AuditConfig, ByteTokens, Report, TemplateTokens, Tokenizing, audit
from foreword.audit.reports import html_report, json_report, sarif_report
from foreword.cli.audit_text import print_report
from foreword.prompt.prices import PriceTable
from prompt.families import template

STRANGE: list[Any] = [
    None,
    True,
    -1,
    1e300,
    "",
    "\ud800",
    "\x00",
    "{",
    '{"a"',
    [],
    {},
    [[]],
    [{}],
    {"type": 1},
    [None],
    ["x"],
]


def mangle(node: Any, rng: random.Random) -> Any:
    """The value with one random part replaced by something strange."""
    if isinstance(node, dict | list) and node and rng.random() < 0.85:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[key] = mangle(node[key], rng)
        return node
    return rng.choice(STRANGE)


def write_all(report: Report) -> None:
    for text in (
        json_report(report, frozenset()),
        sarif_report(report, frozenset(), "l", "1"),
        html_report(report, frozenset(), "l"),
    ):
        text.encode()
    out = io.StringIO()
    print_report(Console(file=out), report, frozenset())
    out.getvalue().encode()


@pytest.mark.parametrize(
    ("code", "by_template"),
    [*((code, False) for code in SCENARIOS), *((code, True) for code in ("FW103", "FW106", "FW203"))],
)
def test_mangled_requests(code: str, by_template: bool) -> None:
    rng = random.Random(code)
    lines = [
        mangle(line, rng) if rng.random() < 0.5 else line
        for _ in range(1 if by_template else 4)
        for line in planted(code).faulty
    ]
    log = encoded(lines)
    tokenizing: Tokenizing = TemplateTokens(template("chatml")) if by_template else ByteTokens()
    report = audit(lambda _purpose: log, tokenizing, PriceTable.built_in(), AuditConfig(redact=by_template))
    assert report.totals.requests + report.broken_lines == len(log) == report.lines
    assert 0 <= report.totals.cached <= report.totals.prompt
    assert 0 <= report.totals.seen <= report.totals.prompt
    write_all(report)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_lines_of_noise(noise: list[bytes]) -> None:
    report = audit(lambda _purpose: [b"x" + line for line in noise], ByteTokens(), PriceTable.built_in())
    assert report.broken_lines == len(noise)
    write_all(report)


def test_lone_surrogates_in_every_place() -> None:
    lines = planted("FW101").faulty
    text = json.dumps(lines).replace("You answer.", "You \\ud800 answer.").replace("gpt-5", "gpt-5\\udfff")
    log = encoded(json.loads(text))
    report = audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in())
    assert [finding.code for finding in report.findings] == ["FW101"]
    write_all(report)


def test_a_log_with_as_many_models_as_lines() -> None:
    log = encoded([{"model": f"m{i}", "messages": [{"role": "user", "content": "Hello"}]} for i in range(300)])
    report = audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in())
    assert sum(count for count, _ in report.models.values()) == 300
    assert len(report.models) == 101


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_a_log_out_of_order(order: str) -> None:
    lines = [line for code in SCENARIOS for line in planted(code).faulty]
    lines = lines[::-1] if order == "reversed" else random.Random(0).sample(lines, len(lines))
    log = encoded(lines)
    report = audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in())
    assert report.totals.requests == len(lines)
    write_all(report)
