"""Pieces of a conversation in its tokens, for templates of every kind."""

import json
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from foreword.errors import PromptError
from foreword.prompt.segments import SegmentedPrompt, segment
from foreword.prompt.template import PromptTemplate
from prompt.families import FAMILIES, files, template

NOW = datetime(2026, 11, 22)


def tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    return {"type": "function", "function": {"name": name, "description": f"does {name}", "parameters": parameters}}


TOOLS = [tool("search"), tool("weather"), tool("zip")]
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": "You are a clerk."}, {"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": "Hello there\n"},
    {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [{"type": "function", "function": {"name": "search", "arguments": '{"q": "paris", "n": 3}'}}],
    },
    {"role": "tool", "content": "five"},
    {"role": "assistant", "content": "It is five."},
    {"role": "user", "content": "Thanks"},
]
SHORT = [TALK[0], TALK[1], TALK[4], TALK[5]]


def texts(prompt: SegmentedPrompt) -> dict[str, str]:
    """Each piece's label and text."""
    return {p.label: prompt.text_before(p.end).removeprefix(prompt.text_before(p.start)) for p in prompt.pieces}


def talk_for(family: str) -> list[dict[str, Any]]:
    return TALK if family in ("qwen2_5", "qwen3", "llama3", "mistral") else SHORT


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("generation", [True, False])
def test_the_pieces_follow_one_another_and_make_up_the_prompt(family: str, tools: Any, generation: bool) -> None:
    prompt = segment(template(family), talk_for(family), tools, generation, now=NOW)
    assert prompt.text == template(family).render(talk_for(family), tools, generation, now=NOW)
    assert prompt.token_ids == template(family).encode(prompt.text)
    places = [0, *(piece.end for piece in prompt.pieces)]
    assert [piece.start for piece in prompt.pieces] == places[:-1]
    assert places[-1] == len(prompt.token_ids)
    assert places == sorted(places)
    assert len({(piece.kind, piece.index, piece.block) for piece in prompt.pieces}) == len(prompt.pieces)


def test_qwen_in_full() -> None:
    prompt = segment(template("qwen2_5"), TALK, TOOLS[:2])
    first, second = (f'{{"type": "function", "function": {{"name": "{name}"' for name in ("search", "weather"))
    found = texts(prompt)
    assert found["system, block 1"] == "<|im_start|>system\nYou are a clerk."
    assert found["system, block 2"] == "\nBe brief."
    assert first in found["tool 1 (search)"]
    assert found["tool 2 (weather)"].startswith(second)
    assert found["tool 2 (weather)"].endswith("</tool_call>.<|im_end|>\n")
    assert found["message 2 (user)"] == "<|im_start|>user\nHello there\n<|im_end|>\n"
    assert found["message 3 (assistant), block 1"] == "<|im_start|>assistant\nLet me look."
    assert found["message 3 (assistant), block 2"].endswith('"arguments": {"q": "paris", "n": 3}}\n</tool_call><|im_end|>\n')
    assert found["message 4 (tool)"] == "<|im_start|>user\n<tool_response>\nfive\n</tool_response><|im_end|>\n"
    assert found["message 6 (user)"] == "<|im_start|>user\nThanks<|im_end|>\n"
    assert found["generation prompt"] == "<|im_start|>assistant\n"


def test_tools_that_stand_in_the_first_question_or_before_the_last() -> None:
    llama = [piece.label for piece in segment(template("llama3"), SHORT, TOOLS[:1], now=NOW).pieces]
    assert llama[:4] == ["system, block 1", "system, block 2", "tool 1 (search)", "message 2 (user)"]
    mistral = [piece.label for piece in segment(template("mistral"), SHORT, TOOLS[:1]).pieces]
    assert mistral[:3] == ["message 2 (user)", "message 3 (assistant)", "tool 1 (search)"]
    assert mistral[3:] == ["system, block 1", "system, block 2", "message 4 (user)", "generation prompt"]


def test_what_the_template_leaves_out_has_no_tokens() -> None:
    thinking = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "reasoning_content": "Two and two.", "content": "4"},
        {"role": "user", "content": "3+3?"},
    ]
    prompt = segment(template("qwen3"), thinking)
    dropped, kept = (piece for piece in prompt.pieces if piece.index == 1)
    assert (dropped.start, kept.blocks, kept.block) == (dropped.end, 2, 1)
    assert texts(prompt)["message 2 (assistant), block 2"] == "<|im_start|>assistant\n4<|im_end|>\n"
    assert segment(template("chatml"), SHORT, TOOLS).end_of_tool(0) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_change_in_a_piece_is_found_in_that_piece(family: str) -> None:
    """Where two prompts first differ is labelled with the piece that was changed."""
    rng = random.Random(family)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    for _ in range(20):
        talk: list[dict[str, Any]] = [{"role": "system", "content": " ".join(rng.choices(words, k=9))}]
        for turn in range(5):
            talk.append(
                {"role": ("user", "assistant")[turn % 2], "content": " ".join(rng.choices(words, k=rng.randrange(3, 9)))}
            )
        at = rng.randrange(len(talk))
        changed = [dict(message) for message in talk]
        where = rng.randrange(3)
        split = changed[at]["content"].split()
        split[where] = "XYZ"
        changed[at]["content"] = " ".join(split)
        old = segment(template(family), talk, now=NOW).token_ids
        new = segment(template(family), changed, now=NOW)
        position = next(i for i, (a, b) in enumerate(zip(old, new.token_ids, strict=False)) if a != b)
        piece = new.piece_at(position)
        assert piece is not None
        assert (piece.kind, piece.index) == ("message", at)
        assert new.label_at(position) == ("system" if at == 0 else f"message {at + 1} ({talk[at]['role']})")


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3", "mistral"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_changed_tool_is_found(family: str, at: int) -> None:
    changed = [*TOOLS[:at], tool("other"), *TOOLS[at + 1 :]]
    old, new = (segment(template(family), SHORT, tools, now=NOW) for tools in (TOOLS, changed))
    position = next(i for i, (a, b) in enumerate(zip(old.token_ids, new.token_ids, strict=False)) if a != b)
    assert new.label_at(position) == f"tool {at + 1} (other)"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_end_of_a_piece_does_not_depend_on_what_follows(family: str) -> None:
    """What a mark promises: two conversations alike up to a message share all tokens up to its end."""
    if family == "mistral":
        pytest.skip("its system text moves to the last question")
    other = [*SHORT[:2], {"role": "assistant", "content": "Quite another answer"}, {"role": "user", "content": "Go on"}]
    one, two = (segment(template(family), talk, now=NOW) for talk in (SHORT, other))
    for end in (one.end_of_message(0, 0), one.end_of_message(0), one.end_of_message(1)):
        assert one.token_ids[:end] == two.token_ids[:end]
    assert one.end_of_message(1) == two.end_of_message(1) > one.end_of_message(0) > one.end_of_message(0, 0) > 0


class Counting(PromptTemplate):
    """Counts how often it renders, and how many messages."""

    renderings = written = 0

    def render(self, messages: Sequence[Any], *args: Any, **options: Any) -> str:
        self.renderings += 1
        self.written += len(messages)
        return super().render(messages, *args, **options)


def counting_template(family: str) -> Counting:
    made = Counting.from_files(files(family))
    assert isinstance(made, Counting)
    return made


def test_a_long_conversation_costs_few_renderings() -> None:
    talk = [{"role": ("user", "assistant")[turn % 2], "content": f"text {turn}"} for turn in range(100)]
    counting = counting_template("qwen2_5")
    segment(counting, talk)
    assert counting.renderings <= 5


def test_a_template_that_looks_at_the_ends_of_texts_is_asked_piece_by_piece() -> None:
    talk = [
        {"role": "user", "content": "one"},
        {"role": "user", "content": "<tool_response>two</tool_response>"},
        {"role": "assistant", "content": "three", "reasoning_content": "because"},
    ]
    found = texts(segment(template("qwen3"), talk))
    assert found["message 1 (user)"] == "<|im_start|>user\none<|im_end|>\n"
    assert found["message 3 (assistant), block 2"].endswith("three<|im_end|>\n")


def test_private_signs_in_the_text_do_no_harm() -> None:
    talk = [{"role": "user", "content": "a \ue0000\ue001 b"}, {"role": "assistant", "content": "\ue000c"}]
    found = texts(segment(template("chatml"), talk))
    assert found["message 1 (user)"] == "<|im_start|>user\na \ue0000\ue001 b<|im_end|>\n"


def test_blank_contents_and_questions_about_what_is_not_there() -> None:
    prompt = segment(
        template("chatml"), [{"role": "user", "content": " "}, {"role": "assistant", "content": ""}], None, False
    )
    assert prompt.label_at(len(prompt.token_ids)) == "end of the prompt"
    with pytest.raises(PromptError, match="no message 7"):
        prompt.end_of_message(7)
    with pytest.raises(PromptError, match="no tool 0"):
        prompt.end_of_tool(0)
    assert prompt.text_before(0) == ""


@pytest.mark.parametrize(
    "call",
    ["x", 5, {}, {"function": None}, {"function": {"name": None, "arguments": None}}, {"name": " ", "arguments": "[1"}],
)
@pytest.mark.parametrize("family", ["chatml", "qwen3", "mistral"])
def test_a_call_of_no_known_form_is_written_or_refused(family: str, call: Any) -> None:
    said: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [call]}
    talk: list[dict[str, Any]] = [{"role": "user", "content": "Go."}, said]
    try:
        expected = template(family).render(talk)
    except PromptError:
        with pytest.raises(PromptError):
            segment(template(family), talk)
        return
    assert segment(template(family), talk).text == expected


def test_a_text_with_every_sign_of_the_private_use_area_has_its_pieces() -> None:
    text = "".join(map(chr, range(0xE000, 0xF900)))
    found = segment(template("chatml"), [{"role": "user", "content": text}, {"role": "user", "content": "b"}])
    assert found.text.count(text) == 1
    assert found.text_before(found.end_of_message(0)).rstrip().endswith("<|im_end|>")


def calling(turns: int) -> list[dict[str, Any]]:
    """A conversation of many calls with numbers as arguments, each answered."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    for turn in range(turns):
        function = {"name": "f", "arguments": json.dumps({"a": turn, "b": 7 * turn})}
        call = {"id": f"call{turn:05}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": f"{turn} found"})
    return messages


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3"])
def test_pieces_of_a_long_conversation_are_found_in_linear_time(family: str) -> None:
    def renderings(turns: int) -> int:
        counting = counting_template(family)
        segment(counting, calling(turns))
        return counting.written

    short, long = renderings(50), renderings(200)
    assert long < 6 * short


def test_pieces_behind_the_first_of_many_end_where_they_would() -> None:
    messages = calling(40)
    found = segment(template("qwen2_5"), messages)
    for index in range(2, len(messages)):
        before = found.text_before(found.end_of_message(index))
        assert before.endswith("<|im_end|>\n"), index
        assert found.text[len(before) :].startswith("<|im_start|>")


def test_one_odd_text_does_not_keep_the_others_apart() -> None:
    messages = [{"role": "user", "content": f"question {turn}"} for turn in range(300)]
    messages[150]["content"] = "<tool_response>odd</tool_response>"
    counting = counting_template("qwen3")
    found = segment(counting, messages)
    assert counting.written < 60 * len(messages)
    assert found.text_before(found.end_of_message(200)).endswith("question 200<|im_end|>\n")
