"""A baseline is an earlier report in JSON: what stands in it is known, and only what is new counts."""

import json
from collections.abc import Mapping

from foreword.errors import ParameterError


def known_fingerprints(text: str) -> frozenset[str]:
    """The fingerprints of the findings of an earlier JSON report. ParameterError when the text is no such report."""
    try:
        report = json.loads(text)
    except ValueError as error:
        raise ParameterError(f"The baseline is not JSON ({error}). Make one with --format json --output FILE.") from error
    findings = report.get("findings") if isinstance(report, Mapping) else None
    if not isinstance(findings, list) or not all(isinstance(f, Mapping) and "fingerprint" in f for f in findings):
        raise ParameterError("The baseline is no JSON report of this command. Make one with --format json --output FILE.")
    return frozenset(str(finding["fingerprint"]) for finding in findings)
