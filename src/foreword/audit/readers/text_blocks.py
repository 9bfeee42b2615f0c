"""Logs that are no JSON: how a file of them begins, and how its blocks become records."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from foreword.audit.readers.aider import CHAT, SENT
from foreword.audit.readers.base import LogLineError, Record


@dataclass(frozen=True, slots=True)
class TextForm:
    """``opens`` matches a file's first line, ``starts`` the first line of each record, ``ends`` one that belongs to none."""

    opens: re.Pattern[str]
    starts: re.Pattern[str]
    ends: re.Pattern[str] | None
    record: Callable[[str], Record]


def _exchange(block: str) -> Record:
    """A block of a cassette."""
    try:
        import yaml
    except ImportError:
        raise LogLineError('a cassette in YAML needs the package pyyaml: pip install "foreword[audit]"') from None
    try:
        value = yaml.safe_load(block)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise LogLineError(f"not YAML: {str(error).splitlines()[0]}") from None
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return dict(value[0])
    raise LogLineError("a block of YAML that is no exchange")


TEXT_FORMS = (
    TextForm(
        re.compile(r"(?:interactions:\s*$|version: \d+\s*$|- request:\s*$)"),
        re.compile(r"- "),
        re.compile(r"version:"),
        _exchange,
    ),
    TextForm(
        re.compile(r"# aider chat started at \d{4}-"),
        re.compile(r"# aider chat started at \d{4}-"),
        None,
        lambda text: {CHAT: text},
    ),
    TextForm(re.compile(r"TO LLM \d{4}-"), re.compile(r"TO LLM \d{4}-"), None, lambda text: {SENT: text}),
)
"""Cassettes in YAML (an exchange a block), aider's chats, aider's requests."""
