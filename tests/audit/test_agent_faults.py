"""Faults that agents, gateways and routers plant into conversations of several turns, and what must not be told."""

import json
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from audit.generator import START, Words, encoded
from foreword.audit import ByteTokens, Report, audit
from foreword.prompt.prices import PriceTable

Line = dict[str, Any]
MARK = {"cache_control": {"type": "ephemeral"}}
TURNS = 5
RULES = Words("rules for pictures").text(9_000)


def agent() -> list[Line]:
    """A clean session on Anthropic's API: marks at the system prompt and at the last message."""
    words = Words("agent")
    system = "Answer höflich, café and Zürich. " + words.text(9_000)
    tools = [{"name": "Read", "description": words.text(400), "input_schema": {"type": "object"}}]
    history: list[Line] = [{"role": "user", "content": [{"type": "text", "text": words.text(2_000)}]}]
    lines = []
    for turn in range(TURNS):
        messages = json.loads(json.dumps(history))
        messages[-1]["content"][-1] |= MARK
        body = {
            "model": "claude-sonnet-4-5",
            "tools": tools,
            "system": [{"type": "text", "text": system, **MARK}],
            "messages": messages,
        }
        lines.append(json.loads(json.dumps({"ts": START + 30 * turn, "duration": 4.0, "request": body})))
        call = {
            "type": "tool_use",
            "id": f"toolu_{words.hexadecimal(20)}",
            "name": "Read",
            "input": {"limit": 2000.0, "n": turn},
        }
        history.append({"role": "assistant", "content": [call]})
        history.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": words.text(1_500)}]}
        )
    return lines


def blocks(line: Line) -> list[Line]:
    return [block for message in line["request"]["messages"] for block in message["content"]]


def unicode_form(turn: int, line: Line) -> None:
    block = line["request"]["system"][0]
    block["text"] = unicodedata.normalize("NFD" if turn % 2 else "NFC", block["text"])


def thinking(turn: int, line: Line) -> None:
    line["request"]["thinking"] = {"type": "enabled", "budget_tokens": 1024 * (1 + turn % 2)}


def tool_choice(turn: int, line: Line) -> None:
    line["request"]["tool_choice"] = {"type": "any" if turn % 2 else "auto"}


def call_ids(turn: int, line: Line) -> None:
    for block in blocks(line):
        for key in ("id", "tool_use_id"):
            if key in block:
                block[key] += f"{turn}"


def one_string(_turn: int, line: Line) -> None:
    text = "\n".join(json.dumps({**block, "cache_control": None}) for block in blocks(line))
    line["request"]["messages"] = [{"role": "user", "content": [{"type": "text", "text": text, **MARK}]}]


def reported(line: Line, cached: int) -> None:
    size = len(json.dumps(line["request"])) // 4
    line["response"] = {"usage": {"input_tokens": size - cached, "cache_read_input_tokens": cached}}


def provider_zero(_turn: int, line: Line) -> None:
    reported(line, 0)


def deployments(turn: int, line: Line) -> None:
    line["model_id"] = f"east-{turn % 2}"
    reported(line, 2_500 if turn == 2 else 0)


def dropped(turn: int, line: Line) -> None:
    reported(line, 0 if turn in (0, 3) else 2_500)


def numbers(turn: int, line: Line) -> None:
    for block in blocks(line):
        if block["type"] == "tool_use" and turn % 2:
            block["input"]["limit"] = 2000


def enum_order(turn: int, line: Line) -> None:
    states = ["open", "closed", "merged", "draft"]
    state = {"type": "string", "enum": states[turn % 4 :] + states[: turn % 4]}
    line["request"]["tools"].insert(0, {"name": "list", "input_schema": {"type": "object", "properties": {"state": state}}})


def address(turn: int, line: Line) -> None:
    line["request"]["system"].insert(0, {"type": "text", "text": f"You help person{turn}2@example.com."})


def billing(turn: int, line: Line) -> None:
    header = f"x-anthropic-billing-header: cc_version=2.1.{'abcde'[turn]}bc; cch={'edcba'[turn]}fe;"
    line["request"]["system"].insert(0, {"type": "text", "text": header})


FAULTS: dict[str, tuple[str, Callable[[int, Line], None]]] = {
    "unicode form": ("FW108", unicode_form),
    "thinking": ("FW205", thinking),
    "tool choice": ("FW205", tool_choice),
    "call ids": ("FW206", call_ids),
    "one string": ("FW306", one_string),
    "provider at zero": ("FW401", provider_zero),
    "deployments": ("FW402", deployments),
    "hits dropped": ("FW403", dropped),
    "forms of numbers": ("FW103", numbers),
    "order of a schema's set": ("FW103", enum_order),
    "billing header": ("FW107", billing),
    "somebody's address": ("FW104", address),
}


def audited(lines: list[Line]) -> Report:
    log = encoded(lines)
    return audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in())


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault(name: str) -> None:
    code, plant = FAULTS[name]
    clean, lines = audited(agent()), agent()
    for turn, line in enumerate(lines):
        plant(turn, line)
    report = audited(lines)
    assert clean.findings == ()
    assert [finding.code for finding in report.findings] == [code]
    (finding,) = report.findings
    assert finding.dollars_lost is not None
    assert finding.dollars_lost > 0
    if code < "FW4":
        lost = clean.totals.cached / clean.totals.prompt - report.totals.cached / report.totals.prompt
        assert finding.tokens_lost == pytest.approx(lost * report.totals.prompt, rel=0.1)
        assert report.totals.repaired / report.totals.repaired_prompt == pytest.approx(
            clean.totals.cached / clean.totals.prompt, abs=0.01
        )


def test_unicode_is_shown_as_code_points() -> None:
    lines = agent()
    for turn, line in enumerate(lines):
        unicode_form(turn, line)
    (finding,) = audited(lines).findings
    assert "h\\xf6flich" in str(finding.old_text)
    assert "ho\\u0308flich" in finding.new_text


def test_tools_that_are_loaded_later_are_not_in_the_prompt() -> None:
    lines = agent()
    for turn, line in enumerate(lines):
        line["request"]["tools"] += [{"name": f"late{i}", "input_schema": {}, "defer_loading": True} for i in range(turn)]
    assert audited(lines).findings == ()


def test_a_mark_that_misses_little_is_no_fault() -> None:
    """Sessions share a note in front of their tasks, a small part of what is cached anyway."""
    note, lines = Words("note").text(800), []
    for session in range(3):
        for line in agent():
            content = line["request"]["messages"][0]["content"]
            content[0]["text"] = f"{session} {content[0]['text']}"
            content.insert(0, {"type": "text", "text": note})
            lines.append({**line, "ts": line["ts"] + 200 * session})
    assert audited(lines).findings == ()


def test_retries_are_no_parallel_first_requests() -> None:
    lines = [{**line, "ts": line["ts"] + 0.5 * i} for line in agent() for i in range(3)]
    assert audited(lines).findings == ()


def test_a_turn_is_not_in_flight_whatever_its_times_say() -> None:
    lines = [{**line, "ts": START + turn} for turn, line in enumerate(agent())]
    report = audited(lines)
    assert report.findings == ()
    assert report.totals.cached == audited(agent()).totals.cached


def test_separators_are_no_other_order() -> None:
    lines = []
    for turn in range(TURNS):
        arguments = json.dumps({"path": "a.py", "limit": 5}, separators=(",", ":") if turn % 2 else None)
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        messages = [
            {"role": "system", "content": "Be brief. " * 600},
            {"role": "user", "content": "Read."},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "five. " * 900},
            *({"role": "user", "content": f"Go on, {i}. " * 20} for i in range(turn + 1)),
        ]
        lines.append({"ts": START + 30 * turn, "request": {"model": "gpt-5.1", "messages": messages}})
    assert [finding.code for finding in audited(lines).findings] == ["FW105"]


def test_a_fix_that_does_not_pay_is_seen_and_not_counted() -> None:
    """Old results are cut short: keeping them would cost more than computing what follows them anew."""
    words, lines = Words("cleared"), []
    history: list[Line] = [{"role": "system", "content": words.text(5_000)}]
    for turn in range(8):
        history += [
            {"role": "user", "content": words.text(60)},
            {"role": "assistant", "tool_calls": [{"id": f"c{turn}", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": f"c{turn}", "content": words.text(9_000)},
        ]
        lines.append({"ts": START + 30 * turn, "request": {"model": "gpt-4o", "messages": json.loads(json.dumps(history))}})
        history[-1]["content"] = "[cleared]"
    report = audited(lines)
    assert report.findings == ()
    assert [finding.code for finding in report.not_paying] == ["FW203"]
    assert (report.not_paying[0].dollars_lost or 0) < 0
    assert report.totals.repaired_dollars == report.totals.dollars
    assert report.totals.repaired == report.totals.cached


@pytest.mark.parametrize("first", ["claude-opus-4-5", "claude-sonnet-4-5"])
def test_a_fault_is_the_same_whichever_model_shows_it_first(first: str) -> None:
    other = {"claude-opus-4-5": "claude-sonnet-4-5", "claude-sonnet-4-5": "claude-opus-4-5"}[first]
    lines = []
    for i, model in enumerate((first, other)):
        for turn, line in enumerate(agent()):
            call_ids(turn, line)
            line["request"]["model"] = model
            lines.append({**line, "ts": line["ts"] + 5_000 * i})
    (finding,) = audited(lines).findings
    assert finding.model == f"{first}, {other}"
    assert finding.fingerprint == audited(lines[:TURNS]).findings[0].fingerprint


def test_another_value_at_a_known_place_is_another_fault() -> None:
    prints = set()
    for value in ("Now: 2026-03-01T10:00:1{}", "Trace: 3f2a9c1d-8b7e-4f6a-9c2d-1e0f5a6b7c8{}"):
        lines = agent()
        for turn, line in enumerate(lines):
            block = line["request"]["system"][0]
            block["text"] = value.format(turn) + "\n" + block["text"]
            line["request"]["system"].insert(0, {"type": "text", "text": "You are an agent."})
        (finding,) = audited(lines).findings
        assert finding.code == "FW101"
        prints.add(finding.fingerprint)
    assert len(prints) == 2


def excerpts(plant: Callable[[int, Line], None]) -> tuple[str | None, str]:
    lines = agent()
    for turn, line in enumerate(lines):
        plant(turn, line)
    (finding,) = audited(lines).findings
    return finding.old_text, finding.new_text


def test_a_changed_setting_is_shown_as_it_was_and_as_it_is() -> None:
    def any_first(turn: int, line: Line) -> None:
        tool_choice(turn + 1, line)

    def both(turn: int, line: Line) -> None:
        line["request"]["tool_choice"] = {"type": "any"}
        if turn % 2 == 0:
            thinking(turn, line)

    budget = '{"type":"enabled","budget_tokens":%d}'
    assert excerpts(thinking) == (budget % 1024, budget % 2048)
    assert excerpts(tool_choice) == ('{"type":"auto"}', '{"type":"any"}')
    assert excerpts(any_first) == ('{"type":"any"}', '{"type":"auto"}')
    assert excerpts(both) == (budget % 1024, '{"type":"disabled"}')


def test_two_ids_of_one_call_are_told_apart() -> None:
    def long_ids(turn: int, line: Line) -> None:
        for block in blocks(line):
            for key in ("id", "tool_use_id"):
                if key in block:
                    block[key] = f"toolu_{turn}{block[key][-1]}a2b3c4d5e6f7a8b9c0d1e2f3"

    old, new = excerpts(long_ids)
    assert old is not None
    assert "a2b3c4" not in old + new
    assert "[… 1]" in old
    assert "[… 2]" in new


def openai_pictures(turns: list[tuple[str, str]], image: str) -> tuple[str, Line]:
    rows: list[Line] = [{"role": role, "content": text} for role, text in turns]
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    rows[0]["content"] = [picture, {"type": "text", "text": turns[0][1]}]
    return "gpt-5.1", {"messages": [{"role": "system", "content": RULES}, *rows]}


def anthropic_pictures(turns: list[tuple[str, str]], image: str) -> tuple[str, Line]:
    rows: list[Line] = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    rows[0]["content"].insert(0, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}})
    rows[-1]["content"][-1].update(MARK)
    return "claude-sonnet-4-5", {"system": [{"type": "text", "text": RULES, **MARK}], "messages": rows}


def gemini_pictures(turns: list[tuple[str, str]], image: str) -> tuple[str, Line]:
    rows: list[Line] = [
        {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]} for role, text in turns
    ]
    rows[0]["parts"].insert(0, {"inlineData": {"mimeType": "image/png", "data": image}})
    return "gemini-2.5-pro", {"systemInstruction": {"parts": [{"text": RULES}]}, "contents": rows}


@pytest.mark.parametrize("body", [openai_pictures, anthropic_pictures, gemini_pictures])
@pytest.mark.parametrize("again", [True, False])
def test_a_picture_encoded_again_is_seen_in_the_second_turn_too(
    body: Callable[[list[tuple[str, str]], str], tuple[str, Line]], again: bool
) -> None:
    lines: list[Line] = []
    for number in range(3):
        words = Words(f"pictures {number}")
        turns = [("user", words.text(600)), ("assistant", words.text(800)), ("user", words.text(800))]
        first = words.hexadecimal(400)
        for turn, image in enumerate((first, words.hexadecimal(400) if again else first)):
            model, request = body(turns[: 1 + 2 * turn], image)
            lines.append(
                {"ts": 200 * number + 40 * turn, "duration": 3, "model": model, "request": {"model": model, **request}}
            )
    report = audited(lines)
    assert [finding.code for finding in report.findings] == ["FW106"] * again
    assert all(finding.requests == 3 for finding in report.findings)
    assert report.unexplained == 0
