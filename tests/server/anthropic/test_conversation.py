"""Bodies of the Messages API as neutral conversations, and where their marks stand."""

from typing import Any

import pytest

from foreword.errors import PromptError
from foreword.prompt.chat import ChatPrompt, MarkAt, Message, ToolCall, text_blocks
from foreword.server.anthropic.conversation import conversation
from foreword.server.anthropic.schema import CountTokensBody

FIVE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def text(value: str, mark: dict[str, str] | None = None) -> dict[str, Any]:
    return {"type": "text", "text": value, **({"cache_control": mark} if mark else {})}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {**user(*content), "role": "assistant"}


def use(name: str, call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {"q": name}, **more}


def result(call_id: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def tool(name: str, mark: dict[str, str] | None = None) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}, **({"cache_control": mark} if mark else {})}


def translate(*messages: dict[str, Any], **more: Any) -> ChatPrompt:
    body = CountTokensBody.model_validate({"model": "m", "messages": list(messages), **more})
    return conversation(body)


def marks(*messages: dict[str, Any], **more: Any) -> list[tuple[int | None, int, float]]:
    return [(mark.message, mark.block, mark.ttl_seconds) for mark in translate(*messages, **more).marks]


def test_a_string_is_one_text_block() -> None:
    assert translate(user("hi"), system="be kind") == translate(user(text("hi")), system=[text("be kind")])
    assert translate(user("hi"), system="be kind").messages == (
        Message("system", text_blocks("be kind")),
        Message("user", text_blocks("hi")),
    )


def test_an_empty_system_prompt_is_none() -> None:
    assert translate(user("hi"), system="").messages == (Message("user", text_blocks("hi")),)


def test_turns_of_one_role_are_joined() -> None:
    got = translate(user("a"), user("b"), assistant("c"), assistant("d"), user(text("e"), text("f"))).messages
    assert [(message.role, message.texts) for message in got] == [
        ("user", ("a", "b")),
        ("assistant", ("c", "d")),
        ("user", ("e", "f")),
    ]


def test_tools_their_uses_and_results() -> None:
    got = translate(
        user("look"),
        assistant(text("I look"), use("web", "u1"), use("map", "u2")),
        user(result("u2", "here"), result("u1", [text("x"), text("y")]), text("well?")),
        tools=[{**tool("web"), "description": "finds"}, tool("map")],
    )
    assert got.tools == (
        {"type": "function", "function": {"name": "web", "description": "finds", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "map", "parameters": {"type": "object"}}},
    )
    assert got.messages[1:] == (
        Message(
            "assistant", text_blocks("I look"), (ToolCall("u1", "web", {"q": "web"}), ToolCall("u2", "map", {"q": "map"}))
        ),
        Message("tool", text_blocks("here"), tool_call_id="u2", name="map"),
        Message("tool", text_blocks("x", "y"), tool_call_id="u1", name="web"),
        Message("user", text_blocks("well?")),
    )


def test_text_behind_a_tool_use_keeps_its_place() -> None:
    got = translate(user("a"), assistant(use("web", "u1"), text("waiting")), user(result("u1", "b")))
    assert [(message.role, message.texts, len(message.tool_calls)) for message in got.messages[1:3]] == [
        ("assistant", (), 1),
        ("assistant", ("waiting",), 0),
    ]


@pytest.mark.parametrize(("content", "told"), [("no net", ("Error: no net",)), ([], ("Error: ",)), ("", ("Error: ",))])
def test_the_model_is_told_of_a_tools_error(content: Any, told: tuple[str, ...]) -> None:
    got = translate(user("a"), assistant(use("web", "u1")), user(result("u1", content, is_error=True)))
    assert got.messages[-1].texts == told


def test_an_empty_result_can_be_marked() -> None:
    messages = user("a"), assistant(use("web", "u1")), user(result("u1", [], cache_control=FIVE))
    assert translate(*messages).messages[-1] == Message("tool", (), tool_call_id="u1", name="web")
    assert marks(*messages) == [(2, 0, 300.0)]


def test_empty_texts_are_left_out_and_do_not_count_as_blocks() -> None:
    messages = user(text(""), text("a")), assistant(text(""), use("web", "u1", cache_control=FIVE)), user("")
    assert [message.texts for message in translate(*messages).messages] == [("a",), (), ()]
    assert marks(*messages) == [(1, 0, 300.0)]


def test_marks_stand_where_the_blocks_come_to_stand() -> None:
    got = marks(
        user(text("a"), text("b")),
        assistant(text("c"), use("web", "u1"), use("web", "u2", cache_control=FIVE)),
        user(result("u1", [text("x"), text("y", FIVE), text("z")]), result("u2", "w")),
        tools=[tool("web"), tool("map", HOUR), tool("mail")],
        system=[text("s"), text("t", HOUR)],
    )
    assert got == [(None, 1, 3600.0), (0, 1, 3600.0), (2, 2, 300.0), (3, 1, 300.0)]


def test_the_automatic_mark_goes_to_the_last_block_and_moves_on() -> None:
    assert marks(user(text("a"), text("b")), cache_control=FIVE) == [(0, 1, 300.0)]
    longer = [user(text("a"), text("b")), assistant("c"), user("d")]
    assert marks(*longer, cache_control=HOUR) == [(2, 0, 3600.0)]
    assert marks(*longer[:2], user(""), cache_control=FIVE) == [(1, 0, 300.0)]


def test_the_automatic_mark_and_one_on_the_last_block_are_one() -> None:
    assert marks(user(text("a", HOUR)), cache_control=HOUR) == [(0, 0, 3600.0)]
    with pytest.raises(PromptError, match=r"messages\.0\.content\.0, is marked with ttl '1h' and the request with '5m'"):
        marks(user(text("a", HOUR)), cache_control=FIVE)


def test_at_most_four_marks_the_automatic_one_counted() -> None:
    blocks = [text(str(number), FIVE) for number in range(4)]
    assert len(marks(user(*blocks))) == 4
    with pytest.raises(PromptError, match="5 marks; at most 4"):
        marks(user(*blocks, text("x", FIVE)))
    with pytest.raises(PromptError, match="5 marks; at most 4"):
        marks(user(*blocks, text("x")), cache_control=FIVE)
    with pytest.raises(PromptError, match="5 marks; at most 4"):
        marks(user(*blocks), tools=[tool("web", FIVE)])


def test_the_longer_ttl_comes_first() -> None:
    assert [ttl for *_, ttl in marks(user(text("b", FIVE)), system=[text("a", HOUR)])] == [3600.0, 300.0]
    with pytest.raises(PromptError, match=r"system\.0\.cache_control\.ttl: a mark of 1h .* 5m \(tools\.0\)"):
        marks(user("b"), system=[text("a", HOUR)], tools=[tool("web", FIVE)])
    with pytest.raises(PromptError, match="a mark of 1h stands behind one of 5m"):
        marks(user(text("a", FIVE), text("b")), cache_control=HOUR)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user(text("", FIVE))]},
        {"messages": [user("a")], "system": [text("", FIVE)]},
        {"messages": [user("a"), assistant(use("w", "u")), user(result("u", [text("", FIVE)]))]},
    ],
)
def test_a_mark_on_an_empty_block_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match="the text block is empty"):
        translate(*body.pop("messages"), **body)


@pytest.mark.parametrize(("before", "first"), [(18, None), (19, None), (20, (0, 1)), (30, (0, 11))])
def test_a_mark_looks_back_over_twenty_blocks_its_own_counted(before: int, first: tuple[int, int] | None) -> None:
    blocks = [text(str(number)) for number in range(before)]
    (mark,) = translate(user(*blocks, text("here", FIVE))).marks
    assert mark == MarkAt(0, before, 300.0, first)


def test_the_look_back_counts_tools_and_a_tool_result_once() -> None:
    tools = [tool(f"t{number}") for number in range(10)]
    parts = [text(str(number)) for number in range(50)]
    (mark,) = translate(
        user(*[text(str(number)) for number in range(9)]),
        assistant(use("t1", "u1")),
        user(result("u1", [*parts, text("here", FIVE), text("more")])),
        tools=tools,
    ).marks
    assert mark == MarkAt(2, 50, 300.0, (None, 1))  # 10 tools, 9 texts, a use and the result: the second is the 20th back


def test_an_answer_at_the_end_has_begun() -> None:
    assert translate(user("a"), assistant("b")).go_on
    assert not translate(user("a"), assistant("b"), user("c")).go_on


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([user(use("w", "u"))], "only the assistant uses tools"),
        ([user("a"), assistant(result("u", "b")), user("c")], "it belongs to the user's"),
        ([user(result("u9", "b"))], "'u9' answers no tool_use block before it"),
        ([user("a"), assistant(use("w", "u"), use("w", "u")), user("c")], "the id of two tool_use blocks"),
        ([{"role": "system", "content": [use("w", "u")]}, user("a")], "text only"),
    ],
)
def test_what_no_model_could_be_given_is_refused(messages: list[Any], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        translate(*messages)
