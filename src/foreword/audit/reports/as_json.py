"""The report as JSON: the fields of ``Report``, and each finding's fingerprint. Also what ``--baseline`` takes."""

import json
from dataclasses import asdict

from foreword.audit.findings import BUCKETS, Finding, Report
from foreword.audit.reports.notes import notes

FORMAT = 1
"""Raised when a field changes its meaning or goes."""


def finding_line(finding: Finding) -> str:
    """One finding as JSON, in one line."""
    return json.dumps({"fingerprint": finding.fingerprint, **asdict(finding)}, ensure_ascii=False)


def json_report(report: Report, new: frozenset[str]) -> str:
    """``new`` are the fingerprints that no baseline knows."""
    content = {"format": FORMAT, **asdict(report), "heat_buckets": BUCKETS, "notes": notes(report)}
    content["models"] = [
        {"model": model, "requests": count, "priced": priced} for model, (count, priced) in report.models.items()
    ]
    content["kinds"] = [
        {"kind": kind, "requests": requests, "records_without": without}
        for kind, (requests, without) in report.kinds.items()
    ]
    content["findings"] = [
        {"fingerprint": finding.fingerprint, "new": finding.fingerprint in new, **asdict(finding)}
        for finding in report.findings
    ]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
