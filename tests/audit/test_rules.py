"""The rules as a set: codes, manual pages, and that the pages in docs/ are the docstrings."""

from itertools import pairwise
from pathlib import Path

import pytest

from foreword.audit import RULES, AuditConfig, ByteTokens, Rule
from foreword.audit.auditor import chosen_rules
from foreword.audit.case import Case, part
from foreword.audit.provider_cache import CacheModel
from foreword.audit.provider_terms import TermsBook
from foreword.audit.readers import read_record
from foreword.audit.request import LoggedPiece
from foreword.audit.rules.history_rewritten import held_once
from foreword.audit.rules.tools_changed import TOOLS_KEPT, ToolsChanged
from foreword.errors import ConfigError
from foreword.prompt.prices import PriceTable

DOCS = Path(__file__).parents[2] / "docs"


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES) == 23


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_the_manual_page_is_the_docstring(rule: type[Rule]) -> None:
    page = rule.page()
    for heading in ("## Why it costs", "## Example", "## Fix"):
        assert page.count(heading) == 1
    assert len(rule.summary()) < 130
    assert rule.advice() == " ".join(page.split("## Fix")[1].split())
    assert (DOCS / "reference" / "rules" / f"{rule.code}.md").read_text() == page, (
        "the docstring has changed: write page() to it"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_has_a_file_of_its_own_name(rule: type[Rule]) -> None:
    assert rule.__module__.rsplit(".", 1)[1] == rule.name.replace("-", "_")


def test_the_manual_lists_every_rule_and_no_other() -> None:
    manual = (DOCS / "how-to" / "audit.md").read_text()
    for rule in RULES:
        assert f"| [{rule.code}](../reference/rules/{rule.code}.md) | {rule.name} | {rule.summary()} |" in manual
    assert manual.count("](../reference/rules/") == len(RULES)
    assert len(list((DOCS / "reference" / "rules").glob("*.md"))) == len(RULES)


def test_unknown_codes_are_refused() -> None:
    for config in (AuditConfig(select=("FW9",)), AuditConfig(ignore=("fw101",)), AuditConfig(select=("",))):
        with pytest.raises(ConfigError, match="FW101"):
            chosen_rules(config)
    assert [rule.code for rule in chosen_rules(AuditConfig(select=("FW2",), ignore=("FW203",)))] == [
        "FW205",
        "FW202",
        "FW206",
        "FW201",
        "FW204",
    ]


def test_what_a_turn_repeats_of_the_turn_before_isheld_once() -> None:
    before = tuple(LoggedPiece("message", "text", "user", i, 0, f"text {i}") for i in range(3))
    again = tuple(piece._replace() for piece in before)
    history = (again[0], again[1]._replace(text="changed"), again[2], LoggedPiece("message", "text", "user", 3, 0, "new"))
    held, chars = held_once(history, before)
    assert held == history
    assert [piece is old for piece, old in zip(held, before, strict=False)] == [True, False, True]
    assert chars == len("changed") + len("new")
    assert held_once(history[:2], before) == (history[:2], len("changed"))


def test_tools_of_ever_new_names_are_bounded() -> None:
    """A client that names its tools anew each time would else be remembered for ever."""
    tool = {"type": "function", "function": {"name": "", "parameters": {}}}
    lines = []
    for i in range(TOOLS_KEPT + 20):
        named = {**tool, "function": {**tool["function"], "name": f"tool_{i}"}}  # type: ignore[dict-item]
        messages = [{"role": "system", "content": "Be."}, {"role": "user", "content": "x"}]
        lines.append({"model": "m", "tools": [named, tool], "messages": messages})
    rule, requests = ToolsChanged(), [read_record(line, 1) for line in lines]
    terms = TermsBook(PriceTable.built_in())
    caches = CacheModel(10**6, 1.0)
    for old, request in pairwise(requests):
        tokens = ByteTokens().encode(request)
        outcome = caches.feed(request, tokens, terms.of(request, len(tokens)))
        parted = part(old, request, tokens, 0)
        rule.examine(Case(request, tokens, outcome, terms.of(request, len(tokens)), None, parted))
    mended = rule.fixer()(requests[-1])
    assert sum(piece.kind == "tool" for piece in mended.pieces) == TOOLS_KEPT


@pytest.mark.parametrize("option", ["min_tokens", "tree_tokens", "recent_bytes", "rounds"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is 0"):
        AuditConfig(**{option: 0})  # type: ignore[arg-type]
