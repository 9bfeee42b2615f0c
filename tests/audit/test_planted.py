"""Every rule finds its planted fault, at its place and with its price; no rule finds anything in the clean twins."""

import json
import math
from collections import Counter

import pytest

from audit.generator import SCENARIOS, Line, encoded, planted, whole_log
from foreword.audit import RULES, AuditConfig, ByteTokens, Report, audit
from foreword.prompt.prices import PriceTable

PRICES = PriceTable.built_in()
OF_AGENTS = ("FW108", "FW205", "FW206", "FW306", "FW401", "FW402", "FW403")
"""Rules whose faults are planted into an agent's log: test_agent_faults."""
TOLERANCE = 4
"""Tokens for each request by which a fix may differ from the clean twin: values that are moved begin a token."""


def audited(lines: list[Line], **options: object) -> Report:
    log = encoded(lines)
    return audit(lambda _purpose: log, ByteTokens(), PRICES, AuditConfig(**options))  # type: ignore[arg-type]


def test_every_rule_has_a_scenario() -> None:
    assert sorted([*SCENARIOS, *OF_AGENTS]) == sorted(rule.code for rule in RULES)


@pytest.mark.parametrize("code", SCENARIOS)
def test_planted_fault(code: str) -> None:
    plan = planted(code)
    report = audited(plan.faulty)
    clean = audited(plan.clean)
    assert [finding.code for finding in report.findings] == [code]
    (finding,) = report.findings
    assert finding.label == plan.label
    assert finding.requests == plan.seen
    expected_position = position(plan.faulty[finding.line - 1], plan.label, plan.char)
    assert expected_position is None or finding.position == expected_position
    lost = computed(report) - computed(clean)
    assert abs(finding.tokens_lost - lost) <= TOLERANCE * len(plan.faulty)
    assert finding.tokens_lost >= 0.6 * plan.lost * plan.lost_chars / 4
    assert report.totals.dollars is not None
    assert finding.dollars_lost is not None
    assert finding.dollars_lost == pytest.approx(report.totals.dollars - (report.totals.repaired_dollars or 0))
    assert 0 < finding.dollars_lost < report.totals.dollars
    assert clean.findings == ()
    assert clean.totals.repaired == clean.totals.cached


def computed(report: Report) -> int:
    """Tokens that the provider's rules did not let it read."""
    return report.totals.prompt - report.totals.cached


def position(line: Line, label: str, char: int | None) -> int | None:
    """The token position of a character of a piece (None: its end), counted anew from the body: 4 bytes and a head each."""
    body = line["request"]
    texts: list[tuple[str, str | None]] = [(f"tools, tool {i + 1}", None) for i, _ in enumerate(body.get("tools", ()))]
    texts += [(f"system, block {i + 1}", block["text"]) for i, block in enumerate(body.get("system", ()))]
    number = 0
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        number += message["role"] != "system"
        name = f"message {number} ({message['role']})" if number else "system"
        said = [block.get("text") for block in blocks]
        said += [json.dumps(call, separators=(",", ":")) for call in message.get("tool_calls", ())]
        texts += [(f"{name}, block {i + 1}", text) for i, text in enumerate(said)]
    at = 0
    for name, text in texts:
        if text is None:
            return None  # tools and media: their length is not counted here
        if name == label:
            return at + 1 + (math.ceil(len(text) / 4) if char is None else char // 4)
        at += 1 + math.ceil(len(text) / 4)
    return None


def test_all_faults_in_one_log() -> None:
    report = audited(list(whole_log(faulty=True)))
    assert sorted(finding.code for finding in report.findings) == sorted(SCENARIOS)
    seen = {code: planted(code).seen for code in SCENARIOS}
    seen["FW202"] += 4  # to keep the tools sorted helps where they change, too
    assert {finding.code: finding.requests for finding in report.findings} == seen
    savings = sum(finding.dollars_lost or 0 for finding in report.findings)
    assert report.totals.dollars is not None
    assert report.totals.repaired_dollars is not None
    assert savings == pytest.approx(report.totals.dollars - report.totals.repaired_dollars)


def test_nothing_in_the_clean_log() -> None:
    report = audited(list(whole_log(faulty=False)))
    assert report.findings == ()
    assert report.passes == 1
    assert report.totals.cached > 0.98 * report.totals.seen


def test_a_fault_behind_a_fault_is_found() -> None:
    """The date hides that the tools change places: both are found, and what is saved adds up.

    Mending the order alone lets the provider read nothing; a perfect cache would, and that is told beside the sum."""
    lines = planted("FW202").faulty
    names = sorted(tool["function"]["name"] for tool in lines[0]["request"]["tools"])
    lines = json.loads(json.dumps(lines))
    for i, line in enumerate(lines):
        for tool in line["request"]["tools"]:
            if tool["function"]["name"] == names[3]:
                tool["function"]["description"] += f" Built 2026-03-01T10:00:{10 + i}."
    report = audited(lines)
    assert {"FW101", "FW202"} <= {finding.code for finding in report.findings}
    totals = report.totals
    lost = sum(finding.tokens_lost for finding in report.findings if finding.dollars_lost)
    assert {finding.code for finding in report.findings if not finding.dollars_lost} == {"FW202"}
    assert lost == (totals.prompt - totals.cached) - (totals.repaired_prompt - totals.repaired)


def test_select_ignore_and_inline_ignore() -> None:
    lines = planted("FW101").faulty
    assert audited(lines, ignore=("FW1",)).findings == ()
    assert audited(lines, select=("FW2",)).findings == ()
    for asked in ("FW101, FW104", ["FW101", "FW104"], "FW1"):
        for line in lines:
            line["request"]["metadata"] = {"foreword_ignore": asked}
        report = audited(lines)
        assert report.findings == ()
        assert report.ignored > 0
    for line in lines:
        line["request"]["metadata"] = {"foreword_ignore": ["", "FW2"]}
    assert [finding.code for finding in audited(lines).findings] == ["FW101"]


def test_what_changes_for_each_request_of_a_user_is_not_the_users() -> None:
    """Users are known, but the value changes each time: the first suspicion is taken back, and the right rule told."""
    lines = planted("FW102").faulty
    for i, line in enumerate(lines):
        line["ts"] += 10 * i
        system = line["request"]["messages"][0]
        system["content"] = system["content"].replace("assistant of ", f"assistant of Nobody{chr(65 + i)} and ")
    codes = Counter(finding.code for finding in audited(lines).findings)
    assert "FW102" not in codes
    assert codes["FW104"] == 1


def test_an_unknown_model_has_no_price() -> None:
    lines = planted("FW101").faulty
    for line in lines:
        line["request"]["model"] = "my-own-model"
    report = audited(lines)
    (finding,) = report.findings
    assert finding.dollars_lost is None
    assert finding.tokens_lost > 50_000
    assert report.totals.dollars is None
    assert report.models == {"my-own-model": (20, False)}


def test_without_times_nothing_expires_and_nothing_is_in_flight() -> None:
    for code in ("FW304", "FW305"):
        lines = [{key: value for key, value in line.items() if key != "ts"} for line in planted(code).faulty]
        report = audited(lines)
        assert report.findings == ()
        assert report.untimed == len(lines)


def test_what_the_provider_reported_is_added_up() -> None:
    lines = planted("FW101").clean
    for line in lines[:5]:
        line["response"] = {"usage": {"prompt_tokens": 3_000, "prompt_tokens_details": {"cached_tokens": 2_048}}}
    totals = audited(lines).totals
    assert (totals.reported, totals.reported_prompt, totals.reported_cached) == (5, 15_000, 10_240)
    assert 15_000 < totals.reported_estimate < 15_300


def test_memory_bound_is_honest() -> None:
    """A tree too small for the log forgets, says so, and still hits what is in steady use."""
    report = audited(planted("FW301").clean, tree_tokens=3_000)
    assert report.forgotten_tokens > 0
    assert report.totals.seen > 0.75 * report.totals.prompt


def test_a_token_shared_by_chance_is_no_fault() -> None:
    """Two conversations whose questions begin alike, the first long expired: one token more was seen, nothing is lost."""
    lines = planted("FW304").clean[:2]
    document = lines[0]["request"]["system"][0]
    log = []
    for i, at in enumerate(range(0, 9_000, 200)):
        line = json.loads(json.dumps(lines[0]))
        line["ts"] = lines[0]["ts"] + at
        line["request"]["system"] = [{**document, "cache_control": {"type": "ephemeral"}}]
        line["request"]["messages"][0]["content"] = [{"type": "text", "text": f"What {i % 2} of {i}?"}]
        log.append(line)
    report = audited(log)
    assert report.findings == ()
    assert report.passes == 1
