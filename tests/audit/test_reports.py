"""The reports: JSON and baseline, SARIF, HTML that hostile prompts cannot use, and the terminal's."""

import html.parser
import io
import json
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest
from rich.console import Console
from sarif_pydantic import Sarif

from audit.generator import SCENARIOS, Line, encoded, planted, whole_log
from foreword.audit import AuditConfig, ByteTokens, Report, audit, known_fingerprints
from foreword.audit.reports import html_report, json_report, notes, sarif_report
from foreword.cli.audit_text import print_report
from foreword.errors import ParameterError
from foreword.prompt.prices import PriceTable

HOSTILE = "<img src=x onerror=alert(2)> {{ 7*7 }}[red]\x1b[31m\u202e&\"'<script>alert(1)</script>"


def audited(lines: list[Line], **options: Any) -> Report:
    log = encoded(lines)
    return audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in(), AuditConfig(**options))


@pytest.fixture(scope="module")
def report() -> Report:
    return audited(list(whole_log(faulty=True)))


@pytest.fixture(scope="module")
def hostile() -> Report:
    lines = planted("FW101").faulty
    for line in lines:
        line["request"]["model"] = f"gpt-5{HOSTILE}"
        system = line["request"]["messages"][0]
        system["content"] = HOSTILE + system["content"].replace(". ", f". {HOSTILE}", 1)
    return audited([*lines, {HOSTILE: HOSTILE}], redact=False)


def fingerprints(report: Report) -> frozenset[str]:
    return frozenset(finding.fingerprint for finding in report.findings)


def test_json_is_a_baseline(report: Report) -> None:
    text = json_report(report, fingerprints(report))
    assert known_fingerprints(text) == fingerprints(report)
    content = json.loads(text)
    assert content["format"] == 1
    assert {finding["code"] for finding in content["findings"]} == set(SCENARIOS)
    assert all(finding["new"] for finding in content["findings"])
    assert content["totals"]["requests"] == report.totals.requests
    assert sum(cell["requests"] for cell in content["heat"]) > 100


def test_the_same_fault_in_a_later_log_is_known(report: Report) -> None:
    """Fingerprints do not hang on lines, amounts or texts."""
    later = audited(list(whole_log(faulty=True))[:60])
    assert later.findings
    assert fingerprints(later) <= fingerprints(report)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"findings": 1}', '{"findings": [{}]}', '{"findings": ["x"]}'])
def test_a_broken_baseline_says_how_to_make_one(text: str) -> None:
    with pytest.raises(ParameterError, match="--format json"):
        known_fingerprints(text)


SARIF_PARTS = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "minItems": 1,
            "items": {
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "tool": {"required": ["driver"]},
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "invocations": {"items": {"required": ["executionSuccessful"]}},
                    "results": {
                        "items": {
                            "required": ["message"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {"required": ["text"]},
                                "baselineState": {"enum": ["new", "unchanged", "updated", "absent"]},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "properties": {"type": "object"},
                                "locations": {
                                    "items": {
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "region": {
                                                        "properties": {"startLine": {"type": "integer", "minimum": 1}}
                                                    }
                                                },
                                            },
                                            "logicalLocations": {"type": "array"},
                                        },
                                    }
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}


def test_sarif_has_the_form_that_the_standard_asks_for(report: Report) -> None:
    known = fingerprints(report)
    text = sarif_report(report, known - {report.findings[0].fingerprint}, "log.jsonl", "1.2.3")
    content = json.loads(text)
    jsonschema_rs.validator_for(SARIF_PARTS).validate(content)
    run = Sarif.model_validate(content).runs[0]
    assert run.results is not None
    rules = content["runs"][0]["tool"]["driver"]["rules"]
    for result, finding in zip(content["runs"][0]["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.code
        region = result["locations"][0]["physicalLocation"]
        assert region == {"artifactLocation": {"uri": "log.jsonl"}, "region": {"startLine": finding.line}}
    states = [result["baselineState"] for result in content["runs"][0]["results"]]
    assert states == ["unchanged"] + ["new"] * (len(states) - 1)


def test_notes_speak_of_one_as_of_one(report: Report) -> None:
    one, two = ("\n".join(notes(replace(report, unexplained=number, untimed=number))) for number in (1, 2))
    assert "1 prompt parts with shared text behind" in one
    assert "1 request has no time: for it nothing" in one
    assert "2 prompts part with shared text behind" in two
    assert "2 requests have no time: for them nothing" in two


def test_sarif_names_the_broken_lines(hostile: Report) -> None:
    content = json.loads(sarif_report(hostile, frozenset(), "l", "1"))
    note, *more = content["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert [other["message"]["text"] for other in more] == notes(hostile)
    assert note["locations"][0]["physicalLocation"]["region"]["startLine"] == 21


class Tags(html.parser.HTMLParser):
    """Which elements and attributes a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_prompts_stay_text_in_html(hostile: Report) -> None:
    (finding,) = hostile.findings
    assert "<script>" in finding.new_text
    page = Tags()
    page.feed(html_report(hostile, fingerprints(hostile), f"{HOSTILE}.jsonl"))
    assert not page.elements & {"script", "img", "iframe", "object", "embed", "link", "a", "form", "svg"}
    assert page.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "scope", "title"}
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text


def test_html_forbids_scripts_and_needs_nothing_else(report: Report) -> None:
    text = html_report(report, frozenset(), "log.jsonl")
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert "http://" not in text
    assert "https://" not in text
    for finding in report.findings:
        assert f"{finding.code} {finding.name}" in text
    assert text.count('class="tag"') == len(report.findings)


def test_the_heat_map_counts_every_break(report: Report) -> None:
    text = html_report(report, frozenset(), "log.jsonl")
    assert 'class="heat"' in text
    assert ">tools</th>" in text
    assert ">system, block 1</th>" in text
    assert "h9" in text.split("<body>")[1]


def test_the_terminal_is_not_steered_by_prompts(hostile: Report) -> None:
    out = io.StringIO()
    print_report(Console(file=out, width=150, force_terminal=True, color_system=None), hostile, fingerprints(hostile))
    text = out.getvalue()
    assert "[red]" in text
    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    assert "FW101" in text
    assert "1 of 21 lines held no request" in text


def test_the_terminal_report_tells_all_figures(report: Report) -> None:
    out = io.StringIO()
    print_report(Console(file=out, width=150), report, fingerprints(report))
    text = out.getvalue()
    totals = report.totals
    for figure in (totals.requests, totals.prompt, totals.cached, totals.repaired, totals.seen, totals.repaired_seen):
        assert f"{figure:,}" in text
    for finding in report.findings:
        assert f"{finding.code} {finding.name} · {finding.place}" in text
        assert f"{finding.tokens_lost:,} tokens" in text
        assert finding.advice.split(",")[0].split(" (")[0][:40] in " ".join(text.split())
