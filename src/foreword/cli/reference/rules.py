"""The page of the audit's rules."""

from foreword.audit.rules import RULES
from foreword.cli.reference.tables import table

HEAD = """\
<!-- Written by `make reference` from the rules; a test compares it. Change their docstrings. -->
# Rules of the audit

What `foreword audit` finds in logs of requests ([how](../how-to/audit.md)). `foreword_ignore: "FW101"` in a request's
metadata leaves one rule out for that request, `--ignore FW101` for all.

"""


def rules_page() -> str:
    """docs/reference/rules.md: every rule by its code, with what it finds."""
    rows = [(f"[{rule.code}](rules/{rule.code}.md)", rule.name, rule.summary()) for rule in RULES]
    return HEAD + table(("code", "name", "what it finds"), sorted(rows))
