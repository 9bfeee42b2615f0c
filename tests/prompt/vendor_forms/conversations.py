"""Conversations to try the vendors' forms on."""

from typing import Any

from hypothesis import strategies as st

from foreword.prompt.chat import Block, Message, Tool, ToolCall, text_blocks

words = st.text("ab é\n", min_size=1, max_size=6)
names = st.sampled_from(["look", "fares", "mail_2"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
arguments = st.dictionaries(words, values, max_size=3)


@st.composite
def tools(draw: st.DrawFn) -> Tool:
    """A tool as a function."""
    schema: dict[str, Any] = {"type": "object", "properties": draw(st.dictionaries(names, st.just({"type": "string"})))}
    function = {"name": draw(names), "description": draw(words), "parameters": schema}
    return {"type": "function", "function": function}


@st.composite
def turns(draw: st.DrawFn, thinking: bool = False, named: bool = False) -> list[Message]:
    """Turns of user and assistant, each call with an id of its own and a result of its own behind it."""
    found: list[Message] = []
    calls = 0
    for _ in range(draw(st.integers(1, 4))):
        found.append(Message("user", text_blocks(*draw(st.lists(words, min_size=1, max_size=3)))))
        thought = (Block("thinking", draw(words)),) if thinking and draw(st.booleans()) else ()
        count = draw(st.integers(0, 2))
        made = tuple(ToolCall(f"call_{calls + n}", draw(names), draw(arguments)) for n in range(count))
        said = text_blocks(*draw(st.lists(words, min_size=0 if made else 1, max_size=2)))
        found.append(Message("assistant", (*thought, *said), made))
        for call in made:
            result = text_blocks(*draw(st.lists(words, min_size=1, max_size=2)))
            found.append(Message("tool", result, tool_call_id=call.call_id, name=call.name if named else None))
        calls += count
    return found
