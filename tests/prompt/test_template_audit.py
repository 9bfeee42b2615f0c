"""Templates that are append-only, and the first place where others are not."""

from datetime import datetime
from types import ModuleType
from typing import Any

import pytest

from foreword.prompt.template import PromptTemplate
from foreword.prompt.template_audit import Check, Scenario, audit_template
from foreword.prompt.tokenizer import ApproximateTokenizer
from prompt.families import template
from prompt.scripts import ROOT, load_script


def checks(family: str, **variables: Any) -> dict[str, Check]:
    return {check.scenario: check for check in audit_template(template(family), **variables)}


def test_chatml_is_append_only_but_knows_no_tools() -> None:
    found = checks("chatml")
    assert all(check.append_only for check in found.values())
    assert found["tools"].tools_ignored
    assert not found["chat"].tools_ignored
    assert found["chat"].answers_kept is True
    assert found["thinking"].answers_kept is False  # the template drops the reasoning that the model wrote


def test_qwen3_rewrites_thinking_between_tool_calls_once_the_next_question_comes() -> None:
    check = checks("qwen3")["thinking and tools"]
    place = check.break_
    assert place is not None
    assert place.label == "message 3 (assistant), block 2"
    assert "Thought 1" in place.old
    assert 'ool_call>\n{"name": "departures"' in place.new
    assert 0 < place.lost_tokens <= check.lost_tokens < check.reusable_tokens
    assert checks("qwen3")["tools"].append_only


def test_the_position_is_that_of_the_first_token_that_differs() -> None:
    scenario = next(s for s in _scenarios() if s.name == "thinking and tools")
    check = checks("qwen3")["thinking and tools"]
    assert check.break_ is not None
    tools = list(scenario.tools or ())
    lengths = (2, 4, 7, 9)  # requests end there: system and user, tool, user, tool
    prompts = [template("qwen3").encode(template("qwen3").render(scenario.messages[:length], tools)) for length in lengths]
    old, new = prompts[check.break_.request - 2 : check.break_.request]
    at = check.break_.position
    assert old[:at] == new[:at]
    assert old[at] != new[at]
    assert check.break_.lost_tokens == len(old) - at


def _scenarios() -> list[Scenario]:
    from foreword.prompt.template_audit import default_scenarios

    return default_scenarios()


def test_llama_breaks_with_the_day_and_mistral_moves_its_system_text() -> None:
    day = checks("llama3", now=datetime(2026, 2, 3))["the next day"].break_
    assert day is not None
    assert (day.request, day.label) == (2, "system")
    assert day.old.startswith("3 Feb 2026")
    assert checks("llama3", date_string="today")["the next day"].append_only
    moved = checks("mistral")["chat"].break_
    assert moved is not None
    assert (moved.request, moved.label) == (2, "message 2 (user)")
    assert moved.old.startswith("You are a clerk")


def test_what_a_template_refuses_is_said_in_its_words() -> None:
    assert checks("llama3")["two tools at once"].refused == "This model makes one tool call at a time."
    assert checks("gemma")["tools"].refused == "Roles must go user, assistant, user, assistant."


def test_trimmed_answers_are_not_reused() -> None:
    assert checks("gemma")["blanks around texts"].answers_kept is False
    assert checks("gemma")["blanks around texts"].append_only
    assert checks("gemma")["chat"].answers_kept is True


def test_a_scenario_of_ones_own() -> None:
    counting = PromptTemplate(
        "{{ messages | length }}{% for m in messages %} {{ m.content }}{% endfor %}", ApproximateTokenizer()
    )
    talk = tuple({"role": role, "content": role} for role in ("user", "assistant", "user"))
    (check,) = audit_template(counting, [Scenario("mine", talk)])
    assert (check.requests, check.prompt_tokens, check.reusable_tokens, check.lost_tokens) == (2, 7, 2, 2)
    assert check.break_ is not None
    assert check.break_.position == 0


def test_a_template_that_takes_nothing_without_tools_is_checked_with_them() -> None:
    source = (
        "{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    )
    found = {check.scenario: check for check in audit_template(PromptTemplate(source, ApproximateTokenizer()))}
    with_tools = {"tools", "two tools at once", "thinking and tools"}
    assert {name for name, check in found.items() if check.refused is None} == with_tools
    assert all(found[name].append_only and not found[name].tools_ignored for name in with_tools)


@pytest.mark.parametrize("end", ["<|end|>", "</s>", "[/INST]", "<｜end▁of▁sentence｜>", "<end_of_turn>", "<|eot_id|>"])
def test_special_tokens_side_by_side_are_whole_ones_to_the_estimate(end: str) -> None:
    source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}" + end + "{% endfor %}"
    found = audit_template(PromptTemplate(source, ApproximateTokenizer()))
    assert all(check.append_only for check in found)
    assert len(ApproximateTokenizer().encode(f"?!{end}<|user|>").ids) == 3


def test_a_template_says_what_it_reads() -> None:
    source = (
        "{% if strategy == 'x' %}{{ bos_token }}{{ messages }}{% endif %}{% set own = 1 %}{{ own }}{{ strftime_now('%d') }}"
    )
    assert PromptTemplate(source, ApproximateTokenizer()).variables == {"strategy"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("template_audit")


def test_the_page_in_the_docs_is_what_the_script_writes(script: ModuleType) -> None:
    page = (ROOT / "docs" / "reference" / "template-audit.md").read_text("utf-8")
    assert script.report(sorted(script.TEMPLATES.glob("*.jinja"))) == page
