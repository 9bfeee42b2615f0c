"""Keeps secrets out of what is shown: keys, tokens, passwords, e-mail addresses, long numbers."""

import re

from foreword.audit.case import Excerpt

HIDDEN = "[…]"

_VALUE = r"(?:\\*\"[^\"]{3,}|\\*'[^']{3,}|[^\s\"',;}\\]{3,})"
"""A value to its closing quote, or to the next space; the quotes may be escaped, as in JSON within JSON."""

_COUNT = r"s[\\\"']*\s*[:=]\s*\d{1,7}(?![\w.-])"
"""How a number of tokens goes on: ``budget_tokens: 8192`` names no secret."""

_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL),
    re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"),  # JSON web tokens
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"(?i)(?<=[/@])[^\s:/@]+:[^\s@/]+(?=@)"),  # user:password@host
    re.compile(
        rf"(?i)(?:pass(?:word|wd|phrase|code)?|pwd|secret|token(?!{_COUNT})|authorization|credential|"
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
    return _shown(excerpt, _secrets(excerpt), {})


def redacted_pair(old: Excerpt, new: Excerpt) -> tuple[str, str]:
    """What two excerpts show, without secrets. Where only what is hidden differs, it is numbered, so that it can be told
    apart: ``toolu_4e…`` and ``toolu_9f…`` are ``too[… 1]`` and ``too[… 2]``."""
    one, two = redacted_excerpt(old), redacted_excerpt(new)
    if one != two or old.text == new.text:
        return one, two
    secrets = _secrets(old), _secrets(new)
    words = [excerpt.around[slice(*span)] for excerpt, spans in zip((old, new), secrets, strict=True) for span in spans]
    marks = {word: f"[… {number}]" for number, word in enumerate(dict.fromkeys(words), 1)}
    return _shown(old, secrets[0], marks), _shown(new, secrets[1], marks)


def _secrets(excerpt: Excerpt) -> list[tuple[int, int]]:
    """Where secrets stand that an excerpt shows any of: each once, as (start, end) in ``around``."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted(match.span() for pattern in _PATTERNS for match in pattern.finditer(excerpt.around)):
        if end <= excerpt.start or start >= excerpt.end:
            continue
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((start, end))
    return spans


def _shown(excerpt: Excerpt, secrets: list[tuple[int, int]], marks: dict[str, str]) -> str:
    """An excerpt with a mark for each secret: its own of ``marks``, or the one for all."""
    out, at = [], excerpt.start
    for start, end in secrets:
        if start > at:
            out.append(excerpt.around[at:start])
        if start >= at and end - start > 8:
            out.append(excerpt.around[start : min(start + 3, excerpt.end)])
        out.append(marks.get(excerpt.around[start:end], HIDDEN))
        at = min(end, excerpt.end)
    return "".join([*out, excerpt.around[at : excerpt.end]])
