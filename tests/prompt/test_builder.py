"""Prompts from parts: their order, what is refused, and where the marks go."""

import json
from typing import Any

import pytest

from foreword.errors import PromptError
from foreword.prompt.builder import PromptBuilder, approximate_count
from foreword.prompt.prices import PriceTable
from foreword.prompt.segments import segment
from prompt.families import template

TOOL = {"type": "function", "function": {"name": "fares", "description": "Look up fares.", "parameters": {"type": "object"}}}
LONG = "Trains leave every hour, the night train at ten. " * 200
CALL = {"id": "call_1", "type": "function", "function": {"name": "fares", "arguments": '{"to": "Bern"}'}}
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "To Bern?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "12 francs"},
    {"role": "assistant", "content": "12 francs."},
]


def builder(static: str = LONG, **options: Any) -> PromptBuilder:
    made = PromptBuilder(**options)
    made.turn("question", "And back?")
    made.session("customer", "The customer is Ann.")
    made.static("rules", static)
    return made


def marked(value: Any, path: str = "") -> list[str]:
    """Where in a body the marks stand."""
    found = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        name = f"{path}.{key}".lstrip(".")
        found += [path] if key in ("cache_control", "prompt_cache_breakpoint") else marked(item, name)
    return found


def test_the_stable_stands_first_whatever_the_order_of_adding() -> None:
    messages = builder("Rules.").build(HISTORY).messages()
    assert [part["text"] for part in messages[0]["content"]] == ["Rules.", "The customer is Ann."]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert messages[-1]["content"] == "And back?"


def test_two_users_share_the_static_part_and_the_next_turn_all_before_it() -> None:
    ids = []
    for user, question in (("Ann", "And back?"), ("Ann", "Why?"), ("Bob", "And back?")):
        made = PromptBuilder(tools=[TOOL], names={"user name": user})
        made.static("rules", "Rules of the desk.")
        made.session("customer", f"The customer is {user}.")
        made.turn("question", question)
        ids.append(made.build().token_ids(template("qwen2_5")))
    prompt = segment(template("qwen2_5"), made.build().messages(), [TOOL])
    static = prompt.end_of_message(0, 0)
    assert ids[0][:static] == ids[2][:static]
    turn = template("qwen2_5").encode("And back?")
    assert ids[0][: -len(turn) - 20] == ids[1][: len(ids[0]) - len(turn) - 20]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Be kind.\nToday is 2026-11-22.", r"static part 'rules' holds a value that changes: '2026-11-22' \(date, line 2\)"),
        ("Session 550e8400-e29b-41d4-a716-446655440000", r"\(uuid, line 1\)"),
        ("key 9f8e7d6c5b4a3f2e1d", r"\(hex, line 1\)"),
        ("Request #1234", r"\(request_id, line 1\)"),
        ("Be kind\nto Ann.", r"holds the user name 'Ann' \(line 2\)"),
    ],
)
def test_a_dynamic_value_in_a_static_part_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        builder(text, names={"user name": "Ann", "nickname": ""})


def test_a_dynamic_value_in_a_tool_is_refused_and_a_known_one_allowed() -> None:
    dated = {"name": "fares", "description": "Fares as of 2026-11-22", "input_schema": {}}
    with pytest.raises(PromptError, match=r"tool 'fares' holds a value that changes: '2026-11-22'"):
        PromptBuilder(tools=[dated])
    made = PromptBuilder()
    made.static("law", "As of 2026-11-22 the fares rise.", allow=["2026-11-22"])
    made.turn("question", "Today is 2026-11-23. Why?")
    assert made.build().static == ("As of 2026-11-22 the fares rise.",)


@pytest.mark.parametrize("text", ["", " \n", None, 5])
def test_blank_parts_and_prompts_without_a_question_are_refused(text: Any) -> None:
    for add in (PromptBuilder().static, PromptBuilder().session, PromptBuilder().turn):
        with pytest.raises(PromptError, match="not blank"):
            add("part", text)
    with pytest.raises(PromptError, match="no turn part"):
        PromptBuilder().build()


def test_anthropic_marks_in_the_best_places() -> None:
    once = builder(tools=[TOOL]).build().anthropic("claude-opus-5", max_tokens=9)
    assert marked(once) == ["system.0", "system.1"]
    assert once["tools"][0] == {"name": "fares", "description": "Look up fares.", "input_schema": {"type": "object"}}
    body = builder(tools=[TOOL]).build(HISTORY).anthropic("claude-opus-5", max_tokens=9, static_lifetime="1h", temperature=0)
    assert marked(body) == ["system.0", "system.1", "messages.2.content.0", "messages.4.content.0"]
    assert [body["system"][at]["cache_control"] for at in (0, 1)] == [
        {"type": "ephemeral", "ttl": "1h"},
        {"type": "ephemeral"},
    ]
    assert body["temperature"] == 0
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert body["messages"][1]["content"] == [{"type": "tool_use", "id": "call_1", "name": "fares", "input": {"to": "Bern"}}]
    assert body["messages"][2]["content"][0]["type"] == "tool_result"


def test_what_is_shorter_than_the_models_minimum_is_not_marked() -> None:
    row = PriceTable.built_in().find("claude-haiku-4-5")
    assert row is not None
    short, long = LONG, LONG * 4
    assert approximate_count(short) < row.minimum < approximate_count(long)
    assert marked(builder(short).build().anthropic(row.name, max_tokens=9)) == []
    assert marked(builder(long).build().anthropic(row.name, max_tokens=9)) == ["system.0", "system.1"]
    session = PromptBuilder()
    session.static("rules", short)
    session.session("file", long)
    session.turn("question", "Why?")
    assert marked(session.build().anthropic(row.name, max_tokens=9)) == ["system.1"]


def test_tools_alone_are_marked_and_a_model_that_is_not_in_the_table_gets_its_marks() -> None:
    made = PromptBuilder(tools=[TOOL])
    made.turn("question", "Why?")
    assert marked(made.build().anthropic("claude-nova-9", max_tokens=9)) == ["tools.0"]


def test_openai_marks_only_where_the_model_knows_them() -> None:
    built = builder(tools=[TOOL]).build(HISTORY)
    new = built.openai("gpt-5.6", prompt_cache_key="desk")
    assert marked(new) == ["messages.0.content.0", "messages.0.content.1", "messages.3.content.0"]
    explicit = built.openai("gpt-5.6", prompt_cache_options={"mode": "explicit"})
    assert marked(explicit) == [*marked(new), "messages.5.content.0"]
    assert new["prompt_cache_key"] == "desk"
    assert new["tools"] == [TOOL]
    assert marked(built.openai("gpt-4o")) == marked(built.openai("unheard-of")) == []
    assert built.openai("gpt-4o")["messages"][1:] == built.messages()[1:]
    assert marked(built.messages()) == []  # marking changed nothing of the prompt itself


def test_a_body_for_the_responses_api() -> None:
    built = builder(tools=[TOOL]).build(HISTORY)
    body = built.responses("gpt-5.6", prompt_cache_key="desk")
    assert marked(body) == ["input.0.content.0", "input.0.content.1", "input.3.output.0"]
    assert [item.get("role", item["type"]) for item in body["input"]] == [
        *("system", "user", "function_call", "function_call_output", "assistant", "user")
    ]
    assert body["input"][2] == {"type": "function_call", "call_id": "call_1", "name": "fares", "arguments": '{"to":"Bern"}'}
    assert body["input"][3]["call_id"] == "call_1"
    assert body["input"][4]["content"] == "12 francs."
    assert body["tools"] == [{"type": "function", "strict": False, **TOOL["function"]}]  # type: ignore[dict-item]
    assert (body["prompt_cache_key"], "instructions" in body) == ("desk", False)
    explicit = built.responses("gpt-5.6", prompt_cache_options={"mode": "explicit"})
    assert marked(explicit) == [*marked(body), "input.5.content.0"]


def test_instructions_where_the_model_knows_no_marks() -> None:
    body = builder("Rules.").build(HISTORY).responses("gpt-5")
    assert body["instructions"] == "Rules.\n\nThe customer is Ann."
    assert [item["type"] for item in body["input"]] == [
        *("message", "function_call", "function_call_output", "message", "message")
    ]
    assert marked(body) == []
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}
    with pytest.raises(PromptError, match="'image_url' cannot be sent to the responses API"):
        builder("Rules.").build([image]).responses("gpt-5")


@pytest.mark.parametrize("model", ["gpt-5.6", "gpt-6-luna", "claude-opus-5", "claude-haiku-4-5", "claude-opus-4-7"])
def test_no_mark_below_the_minimum_and_never_more_than_four(model: str) -> None:
    """Counted by their texts alone: what stands before each mark is at least the model's minimum, whatever the lengths."""
    row = PriceTable.built_in().find(model)
    assert row is not None
    seen = 0
    for words in (0, 300, 600, 1_200, 2_500, 5_000):
        made = PromptBuilder(tools=[TOOL])
        made.static("rules", "Be kind. " + "train " * words)
        made.session("customer", "To Bern. " + "fare " * words)
        made.turn("question", "Why?")
        built = made.build([{"role": "user", "content": "hour " * (words + 1)}, {"role": "assistant", "content": "Yes."}])
        bodies = [built.openai(model), built.responses(model)] if row.provider == "openai" else [built.anthropic(model, 9)]
        for body in bodies:
            assert len(marked(body)) + (row.provider == "openai") <= 4
            for before in texts_before_marks(body):
                seen += 1
                assert approximate_count(before) >= row.minimum
    assert seen >= 5


def texts_before_marks(body: dict[str, Any]) -> list[str]:
    """For each mark of a body the tools and texts up to its end."""
    found, so_far = [], json.dumps(body["tools"], separators=(",", ":"))
    turns = [{"content": body.get("system", ())}, *body.get("messages", ()), *body.get("input", ())]
    for turn in turns:
        blocks = turn["content"] if not isinstance(turn["content"], str) else [{"text": turn["content"]}]
        for block in blocks:
            so_far += block["text"]
            if {"cache_control", "prompt_cache_breakpoint"} & set(block):
                found.append(so_far)
    return found


def test_tools_in_anthropics_form_become_functions() -> None:
    made = PromptBuilder(tools=[{"name": "fares", "description": "Look up fares.", "input_schema": {"type": "object"}}])
    made.turn("question", "Why?")
    assert made.build().openai("gpt-4o")["tools"] == [TOOL]


def test_a_history_that_anthropic_cannot_take_is_refused() -> None:
    made = builder("Rules.")
    with pytest.raises(PromptError, match="role 'system' stands in the history"):
        made.build([{"role": "system", "content": "x"}]).anthropic("claude-opus-5", max_tokens=9)
    broken = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
    with pytest.raises(PromptError, match="call to 'f' are not JSON"):
        made.build([broken]).anthropic("claude-opus-5", max_tokens=9)


def test_the_bodies_are_what_the_official_types_say() -> None:
    pydantic = pytest.importorskip("pydantic")
    openai_types = pytest.importorskip("openai.types.chat.completion_create_params")
    anthropic_types = pytest.importorskip("anthropic.types.message_create_params")
    built = builder(tools=[TOOL]).build(HISTORY)
    anthropic, openai = anthropic_types.MessageCreateParamsNonStreaming, openai_types.CompletionCreateParamsNonStreaming
    pydantic.TypeAdapter(anthropic).validate_python(built.anthropic("claude-opus-5", max_tokens=9, static_lifetime="1h"))
    pydantic.TypeAdapter(openai).validate_python(built.openai("gpt-5.6"))
    responses = pytest.importorskip("openai.types.responses.response_create_params").ResponseCreateParamsNonStreaming
    for model in ("gpt-5", "gpt-5.6"):
        pydantic.TypeAdapter(responses).validate_python(built.responses(model))
