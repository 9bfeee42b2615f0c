"""A conversation fitted to a template loses nothing, stays as it is where it may, and never changes when turns are added."""

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.prompt.abilities import TemplateAbilities
from foreword.prompt.chat import ChatPrompt, Message, ToolCall, text_blocks
from foreword.prompt.default_tools import told_call
from foreword.prompt.fitting import GO_ON, FittedConversation, fit
from foreword.prompt.template import PromptTemplate
from foreword.prompt.written import segment_conversation, write_conversation
from prompt.families import FAMILIES, template
from prompt.test_template import NOW

TAKES_ALL = TemplateAbilities()
TAKES_NONE = TemplateAbilities(**dict.fromkeys((field.name for field in fields(TemplateAbilities)), False))
TOOL = {
    "type": "function",
    "function": {
        "name": "ZEBRA",
        "description": 'Looks "up".\nA thing.',
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}},
    },
}


def say(role: str, *texts: str) -> Message:
    return Message(role, text_blocks(*texts))


def call(*ids: str, text: str = "") -> Message:
    calls = tuple(ToolCall(name, "ZEBRA", {"key": f"value of {name}"}) for name in ids)
    return Message("assistant", text_blocks(text) if text else (), calls)


def gave(call_id: str) -> Message:
    return Message("tool", text_blocks(f"gave {call_id}"), tool_call_id=call_id)


AGENT = [
    say("system", "Be an agent.", "Be good."),
    say("user", "A reminder.", "Look."),
    say("system", "A late rule."),
    call("one", "two", text="I look."),
    gave("one"),
    gave("two"),
    say("user", "Go on."),
    say("assistant", "Found."),
    say("developer", "A later rule."),
    call("three"),
    gave("three"),
    say("assistant", "Done."),
    say("user", "Thanks."),
]
ORDERS: dict[str, list[Message]] = {
    "agent": AGENT,
    "developers": [say("developer", "BANANA"), say("developer", "APPLE"), say("user", "hi")],
    "instructions and a developer": [say("system", "Be terse."), say("developer", "BANANA"), say("user", "hi")],
    "a late developer": [say("user", "hi"), say("developer", "BANANA"), say("user", "go")],
    "a late system": [
        *map(say, ("system", "user", "assistant", "system", "user"), ("Terse.", "Hi", "Oh.", "BLUE.", "Sky?"))
    ],
    "a system at the end": [say("user", "Sky?"), say("system", "BLUE.")],
    "users in a row": [say("user", "One"), say("user", "Two"), say("user", "Three")],
    "assistants in a row": [say("user", "One"), say("assistant", "Two"), say("assistant", "Three"), say("user", "Four")],
    "the assistant first": [say("assistant", "Welcome."), say("user", "Hi")],
    "the assistant behind the system": [say("system", "Terse."), say("assistant", "Welcome."), say("user", "Hi")],
    "a system alone": [say("system", "Terse.")],
}


def written(messages: list[Message], family: str, tools: tuple[Any, ...] = (), **more: Any) -> str:
    return write_conversation(template(family), ChatPrompt(tuple(messages), tools, **more), NOW)


@pytest.mark.parametrize("tools", [(), (TOOL,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_order_is_taken_by_every_template_and_nothing_is_lost(family: str, order: str, tools: tuple[Any, ...]) -> None:
    text = written(ORDERS[order], family, tools)
    words = [word for message in ORDERS[order] for word in message.texts]
    words += [call.arguments["key"] for message in ORDERS[order] for call in message.tool_calls]
    assert [word for word in [*words, *(["ZEBRA", "A thing."] if tools else [])] if word not in text] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_template_takes_stays_as_it_is(family: str) -> None:
    plain = [say("system", "Terse."), say("user", "Hi"), say("assistant", "Oh."), say("user", "Go")]
    if family == "mistral":  # it writes the system text before the last turn, whichever that is
        plain = plain[1:]
    dicts = [{"role": message.role, "content": message.texts[0]} for message in plain]
    assert written(plain, family) == template(family).render(dicts, now=NOW)


@pytest.mark.parametrize("family", ["qwen2_5", "phi3", "qwen3"])
def test_the_developer_is_the_system_where_its_role_is_not_known(family: str) -> None:
    turns = [say("user", "hi")]
    assert written([say("developer", "BANANA"), *turns], family) == written([say("system", "BANANA"), *turns], family)


def test_a_template_that_knows_the_developer_keeps_it() -> None:
    source = "{% for m in messages %}[{{ 'DEV' if m.role == 'developer' else m.role }}]{{ m.content }}{% endfor %}"
    own = PromptTemplate(source, template("chatml").tokenizer)
    asked = ChatPrompt((say("developer", "BANANA"), say("user", "hi"), say("developer", "x"), say("user", "y")))
    assert write_conversation(own, asked, NOW) == "[DEV]BANANA[user]hi[DEV]x[user]y"


def test_a_late_system_text_goes_marked_into_the_next_turn_of_the_user() -> None:
    fitted = fit(ORDERS["a late system"], (), replace(TAKES_ALL, late_system=False))
    assert [message.role for message in fitted.messages] == ["system", "user", "assistant", "user"]
    assert fitted.messages[-1].texts == ("<system>\nBLUE.\n</system>", "Sky?")
    assert fitted.places[-1] == ((3, 0), (4, 0))


def test_tools_stand_before_the_system_text_and_calls_in_the_form_that_is_read() -> None:
    text = written(AGENT, "chatml", (TOOL,))
    assert text.index("ZEBRA") < text.index("Be an agent.")
    assert 'I look.\n<tool_call>\n{"name": "ZEBRA", "arguments": {"key": "value of one"}}\n</tool_call>\n<tool_call>' in text
    assert "<|im_start|>user\n<tool_response>\ngave one\n</tool_response>\n<tool_response>\ngave two\n" in text
    assert told_call(ToolCall("x", "f", '{"a": 1}')) == told_call(ToolCall("x", "f", {"a": 1}))
    assert '"arguments": no JSON' in told_call(ToolCall("x", "f", "no JSON"))


def test_calls_at_once_become_one_message_each_with_what_they_gave() -> None:
    turns = [say("user", "Go"), call("one", "two"), gave("two"), gave("one"), gave("nobody"), say("user", "x")]
    fitted = fit(turns, (), replace(TAKES_ALL, calls_at_once=False))
    told = [message.tool_call_id or [call.call_id for call in message.tool_calls] for message in fitted.messages]
    assert told == [[], ["one"], "one", ["two"], "two", "nobody", []]
    assert fitted.places[1:5] == (((1, 0),), ((3, 0),), ((1, 1),), ((2, 0),))


def test_a_text_beside_a_call_becomes_a_message_before_it() -> None:
    turns = [say("user", "Go"), call("one", text="I look."), gave("one"), say("user", "x")]
    fitted = fit(turns, (), replace(TAKES_ALL, text_with_calls=False))
    assert [message.texts for message in fitted.messages[:3]] == [("Go",), ("I look.",), ()]
    strict = fit(turns, (), replace(TAKES_ALL, text_with_calls=False, assistants_in_row=False, user_after_result=False))
    assert [message.role for message in strict.messages] == ["user", "assistant", "user", "assistant", "tool"]
    assert strict.messages[2].texts == (GO_ON,)
    assert strict.messages[4].texts == ("gave one", "x")


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Any turns in any order; calls are answered right behind them."""
    turns: list[Message] = []
    for number in range(draw(st.integers(1, 8))):
        role = draw(st.sampled_from(["system", "developer", "user", "assistant", "calls"]))
        if role == "calls":
            ids = [f"{number}n{at}" for at in range(draw(st.integers(1, 3)))]
            turns += [call(*ids, text=draw(st.sampled_from(["", f"text {number}"]))), *map(gave, ids)]
        else:
            turns.append(say(role, *(f"{role} {number} {block}" for block in range(draw(st.integers(1, 2))))))
    return turns


abilities = st.builds(TemplateAbilities, **{field.name: st.booleans() for field in fields(TemplateAbilities)})


def parts(fitted: FittedConversation) -> str:
    return "\n".join(
        [text for message in fitted.messages for text in message.texts]
        + [call.arguments["key"] for message in fitted.messages for call in message.tool_calls]
    )


@given(conversations(), abilities)
def test_nothing_is_lost_and_every_part_has_its_place(turns: list[Message], able: TemplateAbilities) -> None:
    fitted = fit(turns, (TOOL,), able)
    told = parts(fitted)
    for index, message in enumerate(turns):
        words = [*message.texts, *(call.arguments["key"] for call in message.tool_calls)]
        assert all(word in told for word in words)
        known = {place for places in fitted.places for place in places}
        assert {(index, block) for block in range(len(words))} <= known
    roles = [message.role for message in fitted.messages]
    rows = set(pairwise(roles))
    assert able.users_in_row or ("user", "user") not in rows
    assert able.assistants_in_row or ("assistant", "assistant") not in rows
    assert able.user_after_result or ("tool", "user") not in rows
    assert able.calls or "tool" not in roles
    assert able.system or "system" not in roles[:1]


@given(conversations(), abilities, st.data())
def test_turns_that_are_added_change_none_before_them(
    turns: list[Message], able: TemplateAbilities, data: st.DataObject
) -> None:
    cuts = [at for at in range(1, len(turns)) if turns[at].role != "tool"]
    if not cuts or (turns[0].role in ("system", "developer") and not (able.system and able.system_alone)):
        return
    cut = data.draw(st.sampled_from(cuts))
    first, whole = fit(turns[:cut], (), able), fit(turns, (), able)
    count = len(first.messages)
    assert first.messages[: count - 1] == whole.messages[: count - 1]
    last, grown = first.messages[-1], whole.messages[count - 1]
    assert (last.role, last.blocks) == (grown.role, grown.blocks[: len(last.blocks)])
    assert last.tool_calls == grown.tool_calls[: len(last.tool_calls)]


@given(conversations())
def test_a_template_that_takes_all_is_given_what_was_sent(turns: list[Message]) -> None:
    fitted = fit(turns, (TOOL,), TAKES_ALL)
    assert [replace(message, name=None) for message in fitted.messages] == turns
    assert fitted.tools == (TOOL,)


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_of_an_agent_begin_with_the_one_before(family: str) -> None:
    if family in ("mistral", "qwen3"):
        pytest.skip("it moves its tools, or leaves out earlier thoughts")
    ends = [at for at in range(1, len(AGENT) + 1) if AGENT[at - 1].role != "assistant" and at not in (1, 5)]
    sent = [written(AGENT[:end], family, (TOOL,), add_generation_prompt=False) for end in ends]
    for before, after in pairwise(sent):
        assert after.startswith(before.rstrip().removesuffix("</s>").removesuffix("<|eot_id|>")[: len(before) - 40])


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_bear_the_names_and_numbers_of_what_was_sent(family: str) -> None:
    found = segment_conversation(template(family), ChatPrompt(tuple(AGENT), (TOOL,)), NOW)
    assert found.pieces[0].start == 0
    assert found.pieces[-1].end == len(found.token_ids)
    assert all(before.end == after.start for before, after in pairwise(found.pieces))
    for index, message in enumerate(AGENT):
        words = [*message.texts, *(call.arguments["key"] for call in message.tool_calls)]
        for block, word in enumerate(words):
            piece = next(p for p in found.pieces if (p.kind, p.index, p.block) == ("message", index, block))
            assert piece.name == message.role
            assert word in found.text_before(piece.end)
            assert word in found.text_before(piece.end)[-len(word) - 120 :]
    assert "ZEBRA" in found.text_before(found.end_of_tool(0))
