"""The report in SARIF 2.1.0, the format in which code hosts take findings. A finding's line is that of the log."""

import json
from typing import Any

from foreword.audit.findings import Finding, Report
from foreword.audit.reports.notes import notes
from foreword.audit.rules import RULES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_report(report: Report, new: frozenset[str], log: str, version: str) -> str:
    """``log`` is the audited file's name as a relative URI; ``new`` are the fingerprints that no baseline knows."""
    rules = [
        {
            "id": rule.code,
            "name": "".join(word.capitalize() for word in rule.name.split("-")),
            "shortDescription": {"text": rule.summary()},
            "fullDescription": {"text": rule.summary()},
            "help": {"text": rule.advice(), "markdown": rule.page()},
            "defaultConfiguration": {"level": "warning"},
        }
        for rule in sorted(RULES, key=lambda rule: rule.code)
    ]
    index = {rule["id"]: i for i, rule in enumerate(rules)}
    driver = {"name": "foreword-audit", "semanticVersion": version, "rules": rules}
    notices: list[dict[str, Any]] = [
        {
            "level": "warning",
            "message": {"text": f"Line {broken.line} was skipped: {broken.reason}"},
            "locations": [_location(log, broken.line)],
        }
        for broken in report.broken
    ]
    notices += [{"level": "note", "message": {"text": said}} for said in notes(report)]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notices}],
        "results": [_result(finding, index[finding.code], new, log) for finding in report.findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _result(finding: Finding, index: int, new: frozenset[str], log: str) -> dict[str, Any]:
    money = "" if finding.dollars_lost is None else f" and ${finding.dollars_lost:,.4f}"
    text = (
        f"{finding.summary} Affects {finding.requests:,} requests at {finding.place}, first at {finding.label}, token "
        f"{finding.position:,}. Lost: {finding.tokens_lost:,} tokens{money}. {finding.advice}"
    )
    location = _location(log, finding.line)
    location["logicalLocations"] = [{"name": finding.label, "fullyQualifiedName": f"{finding.model}/{finding.label}"}]
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": "warning",
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"forewordAudit/v1": finding.fingerprint},
        "baselineState": "new" if finding.fingerprint in new else "unchanged",
        "properties": {
            "tokensLost": finding.tokens_lost,
            "dollarsLost": finding.dollars_lost,
            "requests": finding.requests,
            "token": finding.position,
            "before": finding.old_text,
            "now": finding.new_text,
        },
    }


def _location(log: str, line: int) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": log}, "region": {"startLine": line}}}
