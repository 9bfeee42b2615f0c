"""``foreword audit``: reads logs of real requests and says where their prefixes break, why, and what that costs.

    read (readers/) → neutral requests (request.py) → tokens (tokens.py) → two caches (provider_cache.py)
    → cases (case.py) → rules (rules/, one file each) → replay with the fixes (measure.py) → Report (findings.py)

Pure: lines come from the caller, who may have to open the log several times; reports/ turn a Report into text.
"""

from foreword.audit.auditor import Lines, audit
from foreword.audit.baseline import known_fingerprints
from foreword.audit.config import AuditConfig
from foreword.audit.findings import BUCKETS, Finding, HeatCell, Report, Totals
from foreword.audit.readers import NEXT_FILE
from foreword.audit.rules import RULES, Rule
from foreword.audit.tokens import ByteTokens, PieceTokens, TemplateTokens, Tokenizing

__all__ = [
    "BUCKETS",
    "NEXT_FILE",
    "RULES",
    "AuditConfig",
    "ByteTokens",
    "Finding",
    "HeatCell",
    "Lines",
    "PieceTokens",
    "Report",
    "Rule",
    "TemplateTokens",
    "Tokenizing",
    "Totals",
    "audit",
    "known_fingerprints",
]
