"""Histories that are rewritten: what the fault is called, whom it affects, and what is no fault."""

import json
from typing import Any

import pytest

from audit.generator import START
from audit.test_agent_faults import MARK, TURNS, Line, agent, audited, blocks
from foreword.audit.reports import notes


def results(line: Line) -> list[Line]:
    return [block for block in blocks(line) if block["type"] == "tool_result"]


def test_a_reminder_that_moves_is_told_with_all_that_its_mark_misses() -> None:
    lines, clean = agent(), audited(agent())
    for line in lines:
        content = line["request"]["messages"][-1]["content"]
        content[-1].pop("cache_control")
        content.append({"type": "text", "text": "<system-reminder>" + "Mind the list of tasks. " * 10, **MARK})
    report = audited(lines)
    (finding,) = report.findings
    assert (finding.code, finding.requests) == ("FW203", TURNS - 1)
    assert finding.summary.startswith("A text at the end of the last message (a reminder")
    assert "mark on the block before it" in finding.advice
    assert "<system-reminder>" in str(finding.old_text)
    assert finding.tokens_lost == pytest.approx(clean.totals.cached - report.totals.cached, rel=0.01)


def test_a_reminder_of_its_own_message_is_told_as_well() -> None:
    lines = agent()
    for line in lines:
        line["request"]["messages"][-1]["content"][-1].pop("cache_control")
        reminder = {"type": "text", "text": "Mind the list of tasks. " * 10, **MARK}
        line["request"]["messages"].append({"role": "user", "content": [reminder]})
    assert [finding.code for finding in audited(lines).findings] == ["FW203"]


def test_results_that_are_cleared_in_every_turn_are_called_so() -> None:
    lines = agent()
    for line in lines:
        for block in results(line)[:-1]:
            block["content"] = "[cleared]"
    report = audited(lines)
    (finding,) = report.not_paying  # what stays is shorter, and so cheaper here
    assert report.findings == ()
    assert (finding.code, finding.requests) == ("FW203", TURNS - 2)
    assert finding.summary.startswith("Tool results of earlier turns are cleared")
    assert "clear_at_least" in finding.advice
    assert finding.label == "message 3 (user), block 1"


@pytest.mark.parametrize("kept", [0, 1])
def test_a_history_that_is_compacted_once_is_no_fault(kept: int) -> None:
    """Results cleared at one moment, or all but the last messages replaced by a summary."""
    lines = agent()
    for line in lines[3:]:
        if kept:
            line["request"]["messages"][1:3] = []
        for block in results(line)[:2]:
            block["content"] = "[cleared]"
    report = audited(lines)
    assert report.findings == ()
    assert report.unexplained == 0


def test_a_window_that_drops_the_oldest_messages_is_a_fault() -> None:
    lines = agent()
    for line in lines:
        line["request"]["messages"][1:-3] = []
    assert [finding.code for finding in audited(lines).findings] == ["FW203"]


def test_thinking_that_is_taken_out() -> None:
    lines = agent()
    for line in lines:
        answers = [message for message in line["request"]["messages"] if message["role"] == "assistant"]
        for number, message in enumerate(answers):
            if number == len(answers) - 1:
                message["content"].insert(0, {"type": "thinking", "thinking": f"Thought {number}. " * 30, "signature": "x"})
    (finding,) = audited(lines).findings
    assert (finding.code, finding.summary) == ("FW203", "The thinking of earlier turns is taken out of the history.")


def test_all_requests_that_pay_are_counted_not_only_the_breaks_that_are_shown() -> None:
    """Two gateways take turns: each turn finds what the one before the last left, so only one place parts anew."""
    lines = agent()
    for turn, line in enumerate(lines):
        line["request"]["thinking"] = {"type": "enabled", "budget_tokens": 1024 * (1 + turn % 2)}
    (finding,) = audited(lines).findings
    assert finding.requests == TURNS - 1


def test_a_mark_that_is_too_far_behind_is_moved_with_the_conversation() -> None:
    """Turns of 30 parallel calls: the last entry always ends so many blocks before the mark."""
    lines = []
    for line in agent():
        body: Any = json.loads(json.dumps(line))
        for message in body["request"]["messages"]:
            message["content"] = [
                {**{k: v for k, v in block.items() if k != "cache_control" or i == 29}, **_numbered(block, i)}
                for block in message["content"]
                for i in range(30 if block["type"] != "text" else 1)
            ]
        lines.append(body)
    report = audited(lines)
    (finding,) = report.findings
    assert (finding.code, finding.requests) == ("FW302", TURNS - 2)
    assert report.totals.repaired > 0.98 * report.totals.seen


def _numbered(block: Line, i: int) -> Line:
    key = {"tool_use": "id", "tool_result": "tool_use_id"}.get(block["type"])
    more = {} if key is None else {key: f"{block[key]}{i}"}
    if block["type"] == "tool_result":
        more["content"] = f"{i} {block['content'][:200]}"
    return more


def test_requests_sent_again_word_for_word_are_said() -> None:
    lines = [{**line, "ts": line["ts"] + 0.5 * i} for line in agent() for i in range(3)]
    assert audited(lines).repeated == (TURNS, 2 * TURNS, 3)
    assert audited(agent()).repeated == (0, 0, 0)


@pytest.mark.parametrize(("counted", "cached"), [(2, True), (0.4, False)])
def test_a_providers_minimum_is_in_its_own_tokens(counted: float, cached: bool) -> None:
    """A prompt of 900 tokens as counted here: 1,800 to one provider, which caches from 1,024 on, and 360 to another."""
    lines = []
    for turn in range(3):
        messages = [{"role": "system", "content": "Be brief. " * 360}, {"role": "user", "content": f"Question {turn}"}]
        body = {"model": "gpt-5.1", "messages": messages}
        usage = {"prompt_tokens": round(900 * counted), "prompt_tokens_details": {"cached_tokens": 0}}
        lines.append({"ts": START + 30 * turn, "request": body, "response": {"usage": usage}})
    assert bool(audited(lines).totals.cached) is cached


def test_a_code_to_ignore_that_no_rule_has_is_told() -> None:
    lines = agent()
    for line in lines:
        line["foreword_ignore"] = "FW110, FW3"
    report = audited(lines)
    assert report.unknown_ignores == ("FW110",)
    assert report.ignored > 0
    assert any("'FW110'" in note for note in notes(report))
