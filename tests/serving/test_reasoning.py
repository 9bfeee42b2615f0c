"""Thoughts are told apart from what is said, in every form, in whatever pieces they come; no call in them counts."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreword.serving.reasoning import FORMS, THINK, ReasoningForm
from foreword.serving.tool_forms.base import AnswerPart, Thought, ToolUse
from foreword.serving.tool_forms.harmony import Harmony
from foreword.serving.tool_forms.reader import AnswerForm, AnswerReader, gathered
from serving.reading import read_parts, splits

CALL = '<tool_call>{"name": "web", "arguments": {"q": "fox"}}</tool_call>'
USE = ToolUse("web", '{"q": "fox"}')
NO_SCHEMA: dict[str, Any] = {}


def told(parts: list[AnswerPart]) -> list[Any]:
    return [part if isinstance(part, str | ToolUse) else (part.text,) for part in gathered(parts)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{0}\nHm.\n{1}\n\nYes.", [("Hm.",), "Yes."]),
        ("\n{0}Hm.{1}Yes.", [("Hm.",), "Yes."]),
        ("{0}\n\n{1}\n\nYes.", ["Yes."]),
        ("{0}Hm. ", [("Hm.",)]),
        ("Yes. {0}Hm.{1}", ["Yes. {0}Hm.{1}"]),
        ("<", ["<"]),
    ],
)
def test_thoughts_before_an_answer(form: ReasoningForm, text: str, expected: list[Any]) -> None:
    text = text.replace("{0}", form.begin).replace("{1}", form.end)
    right = [
        part.replace("{0}", form.begin).replace("{1}", form.end) if isinstance(part, str) else part for part in expected
    ]
    for pieces in splits(text):
        assert told(read_parts(pieces, (), reasoning=form)) == right


def test_thoughts_that_the_prompt_has_opened() -> None:
    assert THINK.is_open("<|im_start|>assistant\n<think>\n")
    assert not THINK.is_open("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    for pieces in splits("I see.\n</think>\n\nYes."):
        assert told(read_parts(pieces, (), thinking=True)) == [("I see.",), "Yes."]
    for pieces in splits("<think>I see.</think>Yes."):
        assert told(read_parts(pieces, (), thinking=True)) == [("I see.",), "Yes."], "a model may open them once more"
    assert told(read_parts(["I see"], (), thinking=True)) == [("I see",)]


def test_a_call_that_is_only_thought_of_is_not_carried_out() -> None:
    for pieces in splits(f"<think>I could {CALL}</think>No."):
        assert told(read_parts(pieces)) == [(f"I could {CALL}",), "No."]
    for pieces in splits(f"<think>Hm.</think>\n{CALL}"):
        assert told(read_parts(pieces)) == [("Hm.",), USE]
    for pieces in splits('<think>Hm.</think>\n{"name": "web", "arguments": {"q": "fox"}}'):
        assert told(read_parts(pieces)) == [("Hm.",), USE]


def test_switched_off_thoughts_are_text() -> None:
    text = f"<think>I could {CALL}</think>No."
    assert told(read_parts([text], (), reasoning=None)) == [text]
    harmony = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    assert told(read_parts([harmony], (), Harmony, reasoning=None)) == ["Hm.Yes."]


A, F, C = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|channel|>commentary"
S = "<|start|>assistant"
ARGS = '{"q": "fox"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A}Hm.<|end|>{S}{F}Yes.", [("Hm.",), "Yes."]),
        (f"{A}Hm.<|end|>{S}{F}Yes.<|return|>", [("Hm.",), "Yes."]),
        (f"{F}Yes.<|return|>", ["Yes."]),
        (f"{A}Hm.<|end|>{S}{C} to=functions.web <|constrain|>json<|message|>{ARGS}<|call|>", [("Hm.",), USE]),
        (f"{S} to=functions.web{C} json<|message|>{ARGS}<|call|>", [USE]),
        (f"{C} to=functions.web<|message|>{ARGS}", [USE]),
        (f"{C}<|message|>I look.<|end|>{S}{C} to=functions.web code<|message|>{ARGS}<|call|>", ["I look.", USE]),
        (f"{A}I could call {CALL}<|end|>{S}{F}No.", [(f"I could call {CALL}",), "No."]),
        (f"{A}one{S}{A}two{S}{F}Yes.", [("onetwo",), "Yes."]),
        ("plain", ["plain"]),
        (f"{A}Hm", [("Hm",)]),
    ],
)
def test_channels(text: str, expected: list[Any]) -> None:
    for pieces in splits(text):
        assert told(read_parts(pieces, ("web",), Harmony)) == expected


@given(
    thought=st.text(max_size=30).filter(lambda text: "<" not in text),
    said=st.text(max_size=30).filter(lambda text: "<" not in text),
    size=st.integers(1, 20),
)
@settings(max_examples=200)
def test_nothing_is_lost_but_blanks_around(thought: str, said: str, size: int) -> None:
    text = f"<think>{thought}</think>{said}"
    parts = read_parts([text[at : at + size] for at in range(0, len(text), size)], ())
    assert "".join(part.text for part in parts if isinstance(part, Thought)) == thought.strip()
    assert "".join(part for part in parts if isinstance(part, str)) == said.lstrip()


def test_a_place_in_the_answer_tells_what_is_thought() -> None:
    reader = AnswerReader(AnswerForm(), {})
    for piece in ("\n<thi", "nk>Hm", ".</think>", "\n\nYes"):
        reader.feed(piece)
    (span,) = reader.thoughts
    text = "\n<think>Hm.</think>\n\nYes"
    assert text[span.start : span.end] == "\n<think>Hm.</think>"
    reader = AnswerReader(AnswerForm(Harmony), {})
    for letter in (text := f"{A}Hm.<|end|>{S}{F}Yes."):
        reader.feed(letter)
    (span,) = reader.thoughts
    assert text[span.start : span.end] == f"{A}Hm.<|end|>"
