"""The rules as a set: codes, manual pages, and that the pages in docs/ are the docstrings."""

from pathlib import Path

import pytest

from foreword.errors import ConfigError
from foreword.prompt.audit import RULES, AuditConfig, Rule
from foreword.prompt.audit.auditor import chosen_rules

DOCS = Path(__file__).parents[3] / "docs"


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES) == 16


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_the_manual_page_is_the_docstring(rule: type[Rule]) -> None:
    page = rule.page()
    for heading in ("## Why it costs", "## Example", "## Fix"):
        assert page.count(heading) == 1
    assert len(rule.summary()) < 130
    assert rule.advice() == " ".join(page.split("## Fix")[1].split())
    assert (DOCS / "rules" / f"{rule.code}.md").read_text() == page, "the docstring has changed: write page() to the file"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_has_a_file_of_its_own_name(rule: type[Rule]) -> None:
    assert rule.__module__.rsplit(".", 1)[1] == rule.name.replace("-", "_")


def test_the_manual_lists_every_rule_and_no_other() -> None:
    manual = (DOCS / "audit.md").read_text()
    for rule in RULES:
        assert f"| [{rule.code}](rules/{rule.code}.md) | {rule.name} | {rule.summary()} |" in manual
    assert manual.count("](rules/") == len(RULES)
    assert len(list((DOCS / "rules").glob("*.md"))) == len(RULES)


def test_unknown_codes_are_refused() -> None:
    for config in (AuditConfig(select=("FW9",)), AuditConfig(ignore=("fw101",)), AuditConfig(select=("",))):
        with pytest.raises(ConfigError, match="FW101"):
            chosen_rules(config)
    assert [rule.code for rule in chosen_rules(AuditConfig(select=("FW2",), ignore=("FW203",)))] == [
        "FW202",
        "FW201",
        "FW204",
    ]


@pytest.mark.parametrize("option", ["min_tokens", "tree_tokens", "recent_bytes", "rounds"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is 0"):
        AuditConfig(**{option: 0})  # type: ignore[arg-type]
