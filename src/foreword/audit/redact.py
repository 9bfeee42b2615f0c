"""Keeps secrets out of what is shown: keys, tokens, passwords, e-mail addresses, long numbers."""

import re

from foreword.audit.case import Excerpt

HIDDEN = "[…]"

_VALUE = r"(?:\\*\"[^\"]{3,}|\\*'[^']{3,}|[^\s\"',;}\\]{3,})"
"""A value to its closing quote, or to the next space; the quotes may be escaped, as in JSON within JSON."""

_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
    re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"),  # JSON web tokens
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"(?i)(?<=[/@])[^\s:/@]+:[^\s@/]+(?=@)"),  # user:password@host
    re.compile(
        r"(?i)(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|authorization|credential|"
        r"(?:api|access|account|private|signing|encryption|shared|master)[ _-]?key)"
        rf"s?(?:[_-]\w{{1,20}})?[\\\"']*\s*[:=]\s*{_VALUE}"
    ),
    re.compile(rf"(?i)pass(?:word|phrase|code)\s+is:?\s+{_VALUE}"),
    re.compile(r"\b(?:sk|pk|rk|xox[abposr]|gh[pousr]|glpat|github_pat|hf|AKIA|ASIA|AIza|ya29|npm|pypi|key)[-_]?[\w.-]{12,}"),
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    re.compile(r"\d{9,}|\d{4}(?:[ -]\d{4}){2,}(?:[ -]?\d+)?|\d{4}[ -]\d{6}[ -]\d{5}"),  # account and card numbers
    re.compile(r"\+\d[\d ()-]{7,}\d|(?<!\d)\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\d)"),  # phone numbers
    re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)"),  # social security numbers
    re.compile(r"\b(?=[A-Za-z0-9+/_-]*\d)(?=[A-Za-z0-9+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{24,}={0,2}"),  # long random words
)


def redact(text: str) -> str:
    """The text with what looks like a secret replaced; its first three characters stay where it is long."""
    return redacted_excerpt(Excerpt(text, 0, len(text)))


def redacted_excerpt(excerpt: Excerpt) -> str:
    """What an excerpt shows, without secrets; one that only begins or ends in the excerpt is found all the same."""
    spans = sorted(match.span() for pattern in _PATTERNS for match in pattern.finditer(excerpt.around))
    out, at = [], excerpt.start
    for start, end in spans:
        if end <= at or start >= excerpt.end:
            continue
        if start > at:
            out.append(excerpt.around[at:start])
        if start >= at and end - start > 8:
            out.append(excerpt.around[start : min(start + 3, excerpt.end)])
        out.append(HIDDEN)
        at = min(end, excerpt.end)
    return "".join([*out, excerpt.around[at : excerpt.end]])
