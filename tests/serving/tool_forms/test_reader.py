"""What holds of every form: nothing is lost, nothing raises, little is held back, and arguments are JSON."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreword.serving.tool_forms.base import CallBegin, CallEnd, CallText, Thought, ToolForm, ToolUse
from foreword.serving.tool_forms.choice import FORMS
from foreword.serving.tool_forms.hermes import Hermes
from foreword.serving.tool_forms.reader import AnswerForm, AnswerReader, gathered
from foreword.serving.tool_forms.source import MOST_BLANKS, MOST_KEPT
from serving.reading import read, read_parts

WEB_CALL = '<tool_call>{"name": "web", "arguments": {}}</tool_call>'
SCHEMAS: dict[str, Any] = {"web": {"properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}, "map": {}}
WORDS = sorted(
    {
        *(text for form in FORMS for text in (*form.begins, *form.ends, *form.special)),
        *("web", "map", "other", '{"name": "web", "arguments": {"q": "fox"}}', '"name"', '"arguments"', "call:web", "web("),
        *"{}[]():,'=->q\"\\\n",
        *("\\u", "\\ud83c", "d83c", "  ", "```", "json"),
        *("<think>", "</think>", "functions.web:0", "q", "1e999", "NaN", "-", "007", "null", "x" * 50, "</parameter>"),
        *("<parameter=q>", "commentary to=functions.web", "analysis", "final", "\ufffd", "\x00", "é", "🦊"),
    }
)
ANSWERS = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=25)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(pieces=ANSWERS)
@settings(max_examples=150)
def test_whatever_is_written_can_be_told(form: type[ToolForm], pieces: list[str]) -> None:
    faults: list[Exception] = []
    reader = AnswerReader(AnswerForm(form), SCHEMAS, on_fault=faults.append)
    parts = [part for piece in pieces for part in reader.feed(piece)] + reader.finish()
    assert not faults
    whole = gathered(parts)
    assert whole == gathered(read_parts(["".join(pieces)], SCHEMAS, form)), "in one piece or many"
    opened = False
    for part in parts:
        assert opened == isinstance(part, CallText | CallEnd), "a call's pieces follow each other"
        opened = isinstance(part, CallBegin | CallText)
    calls = [part for part in whole if isinstance(part, ToolUse)]
    for call in calls:
        assert call.name in SCHEMAS
        assert isinstance(json.loads(call.arguments, parse_constant=_refuse), dict)
        call.arguments.encode()
    assert reader.calls == len(calls)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@given(text=st.text(max_size=60) | ANSWERS.map("".join))
@settings(max_examples=200)
def test_without_tools_all_is_text(text: str) -> None:
    assert "".join(part for part in read_parts(list(text), (), reasoning=None) if isinstance(part, str)) == text


@given(pieces=ANSWERS)
@settings(max_examples=200)
def test_where_there_is_no_call_the_text_is_whole(pieces: list[str]) -> None:
    parts = read_parts(pieces, ("nothing",))
    if not any(isinstance(part, Thought | CallBegin) for part in parts) and "think>" not in "".join(pieces):
        assert "".join(part for part in parts if isinstance(part, str)) == "".join(pieces)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    arguments=st.dictionaries(st.text(), VALUES, max_size=4),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    as_text=st.booleans(),
    size=st.integers(1, 40),
)
@settings(max_examples=300)
def test_json_stays_what_it_is(
    arguments: dict[str, Any], indent: int | None, ascii_only: bool, as_text: bool, size: int
) -> None:
    given_text = json.dumps(arguments, indent=indent, ensure_ascii=ascii_only)
    inner = json.dumps(given_text, ensure_ascii=ascii_only) if as_text else given_text
    text = f'<tool_call>{{"name": "web", "arguments": {inner}}}</tool_call>'
    (use,) = gathered(read_parts([text[at : at + size] for at in range(0, len(text), size)]))
    assert isinstance(use, ToolUse)
    told = use.arguments
    assert (use.name, json.loads(told)) == ("web", arguments)
    assert told == json.dumps(arguments, ensure_ascii=False), "written as Python writes it, whatever the spaces were"


def test_text_is_not_held_back_without_need() -> None:
    reader = AnswerReader(AnswerForm(), {"web": {}})
    assert reader.feed("The fox ") == ["The fox"]
    assert reader.feed("jumps <tool") == [" jumps"]
    assert reader.feed("box") == [" <toolbox"]
    reader = AnswerReader(AnswerForm(), {"web": {}})
    assert reader.feed("[Note") == ["[Note"]
    reader = AnswerReader(AnswerForm(), {"web": {}})
    assert reader.feed('{"answer": 1') == ['{"answer": 1']


def test_arguments_come_as_they_are_written() -> None:
    reader = AnswerReader(AnswerForm(), {"web": {}})
    assert reader.feed('<tool_call>{"name": "web", ') == []
    assert reader.feed('"arguments": {"q": "The') == [CallBegin("web"), CallText('{"q": "The')]
    assert reader.feed(" fox") == [CallText(" fox")]
    assert reader.feed(' jumps"') == [CallText(" jumps")], "the quote may be a part of the string"
    assert reader.feed("}") == [CallText('"}')]
    assert reader.feed("}</tool_call>") == [CallEnd()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"q": "fo', '{"q": "fo"}'),
        ('{"q": [1, {"a": "\\', '{"q": [1, {"a": ""}]}'),
        ('{"q": ', '{"q": null}'),
        ('{"q', "{}"),
    ],
)
def test_a_call_that_is_cut_is_json_and_not_whole(text: str, told: str) -> None:
    parts = read_parts(['<tool_call>{"name": "web", "arguments": ' + text])
    assert gathered(parts) == [ToolUse("web", told, whole=False)]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('"\\ud83c"', '"\ufffd"'),
        ('"\\udc00x\\ud83c\\ud83c\\udf00"', '"\ufffdx\ufffd🌀"'),
        ("NaN", "null"),
        ("-Infinity", "null"),
        ("1e999", "null"),
        ("9" * 400, "null"),
        ("-1e-999", "-1e-999"),
        ("007", '"007"'),
        ("+5", "5"),
        (".5", "0.5"),
        ("True", "true"),
        ('"a\x00\x1f\x7fb"', '"a\\u0000\\u001f\x7fb"'),
        ('"\\x41\\q"', '"\\\\x41\\\\q"'),
        ("[1, 2,]", "[1, 2]"),
        ("[1 , , 2]", "[1, 2]"),
        ("{'a': 'b',}", '{"a": "b"}'),
        ('{"a": "b"\n "c": 1}', '{"a": "b", "c": 1}'),
        ("the fox", '"the fox"'),
        ('"""a "b"\n"""', '"a \\"b\\"\\n"'),
        ('""', '""'),
    ],
)
def test_whatever_the_model_writes_can_be_told_as_json(written: str, told: str) -> None:
    text = f'<tool_call>{{"name": "web", "arguments": {{"q": {written}}}}}</tool_call>'
    for pieces in ([text], list(text)):
        assert read(pieces) == [("web", f'{{"q": {told}}}')]
    json.loads(told)


@pytest.mark.parametrize("kind", ["[", '{"a":', '[{"a":'])
def test_deep_nesting_can_be_read_by_others(kind: str) -> None:
    text = f'{{"name": "web", "arguments": {{"q": {kind * 5_000}'
    (use,) = gathered(read_parts([text]))
    assert isinstance(use, ToolUse)
    depth, value = 0, json.loads(use.arguments)["q"]
    while not isinstance(value, str):
        value, depth = next(iter(value.values() if isinstance(value, dict) else value)), depth + 1
    assert depth < 128
    assert value.startswith(("[", "{"))


@pytest.mark.parametrize("text", ["[" * 100_000, '<tool_call>{"name": "' + "x" * 100_000, "<tool_call>" * 20_000])
def test_hostile_text_is_text(text: str) -> None:
    assert read([text]) == [text]


def test_what_is_held_back_is_bounded() -> None:
    for begins in ('{"arguments": {"q": "', '<tool_call>{"x": "'):
        reader = AnswerReader(AnswerForm(), {"web": {}})
        told = "".join(str(part) for at in range(400) for part in reader.feed(begins if not at else "y" * 1000))
        assert len(told) > 400_000 - 1000 - MOST_KEPT
    reader = AnswerReader(AnswerForm(), {"web": {}})
    blanks = sum(len(str(part)) for _ in range(3000) for part in reader.feed(" "))
    assert blanks >= 3000 - 2 * MOST_BLANKS


@pytest.mark.parametrize(
    "text", [f"{2 * WEB_CALL}So.", '[{"name": "web", "arguments": {}}, {"name": "map", "arguments": {}}]']
)
def test_without_parallel_calls_the_first_one_counts(text: str) -> None:
    for pieces in ([text], list(text)):
        got = read(pieces, parallel=False)
        assert [part for part in got if isinstance(part, tuple)] == [("web", "{}")]
        assert "tool_call" not in "".join(part for part in got if isinstance(part, str))


def test_special_tokens_that_are_no_part_of_anything_are_left_out() -> None:
    for pieces in (["a <tool", "_call> b", WEB_CALL], list(f"a <tool_call> b{WEB_CALL}")):
        assert read(pieces, hidden=("<tool_call>", "</tool_call>")) == ["a  b", ("web", "{}")]


def test_a_fault_of_a_reader_takes_nothing_away() -> None:
    class Faulty(Hermes):
        def behind(self, mark: str) -> Any:
            yield from super().behind(mark)
            raise RuntimeError(mark)

    faults: list[Exception] = []
    reader = AnswerReader(AnswerForm(Faulty), {"web": {}}, on_fault=faults.append)
    parts = [part for piece in ("So.", WEB_CALL, " And", " on") for part in reader.feed(piece)] + reader.finish()
    assert gathered(parts) == ["So.", ToolUse("web", "{}"), "</tool_call> And on"]
    assert [type(fault) for fault in faults] == [RuntimeError]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "web", "arguments": {"q": "' + "a\\n" * 40_000 + '"}}</tool_call>',
        "<tool_call>{" * 20_000,
        '{"name": "web", "arguments": ' + '{"a":' * 10_000 + "[],[" + "]," * 10_000,
        "a \n" * 100_000,
        '<tool_call>{"name": "web", "arguments": {"q": "' + '" ' * 40_000,
    ],
    ids=["escapes", "marks", "deep", "blanks", "quotes"],
)
def test_long_answers_are_read_in_time_that_grows_with_them(text: str) -> None:
    before = time.process_time()
    whole = gathered(read_parts([text]))
    assert time.process_time() - before < 30  # 1 s; minutes where it grows with the square
    assert whole
