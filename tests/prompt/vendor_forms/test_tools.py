"""Tools and calls in each vendor's form."""

from typing import Any

import pytest
from hypothesis import given

from foreword.prompt.chat import Tool, ToolCall, tool_name
from foreword.prompt.vendor_forms.tools import as_anthropic_tool, as_function, as_responses_tool, read_call, write_call
from prompt.vendor_forms.conversations import arguments, names, tools


@given(tools())
def test_a_tool_comes_back_from_every_form(tool: Tool) -> None:
    assert as_function(tool) is tool
    assert as_function(as_anthropic_tool(tool)) == tool
    flat = as_responses_tool(tool)
    assert as_function({key: value for key, value in flat.items() if key != "strict"}) == tool
    assert flat["strict"] is False
    assert {tool_name(form) for form in (tool, flat, as_anthropic_tool(tool))} == {tool["function"]["name"]}


def test_keys_stay_in_the_order_in_which_they_were_sent() -> None:
    function = {"parameters": {}, "strict": True, "name": "f"}
    assert as_function({"function": function, "type": "function"})["function"] is function
    assert as_responses_tool({"function": function})["strict"] is True


def test_a_tool_without_a_description_has_none() -> None:
    for described in ({}, {"description": ""}):
        function = as_function({"name": "f", **described, "input_schema": {"type": "object"}})["function"]
        assert function == {"name": "f", "parameters": {"type": "object"}}


def test_anthropics_own_tools_and_functions_without_parameters() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert as_anthropic_tool(search) == search
    assert as_anthropic_tool({"function": {"name": "f"}})["input_schema"] == {"type": "object", "properties": {}}


@given(names, arguments)
def test_a_call_is_the_same_in_every_form(name: str, given_arguments: dict[str, Any]) -> None:
    call = ToolCall("c1", name, given_arguments)
    assert read_call(write_call(call)) == call
    assert (
        read_call({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": name, "arguments": given_arguments})
        == call
    )
    assert read_call({"type": "tool_use", "id": "c1", "name": name, "input": given_arguments}) == call


@pytest.mark.parametrize("broken", [5, None, {}, {"function": 3}, {"function": {"arguments": ""}}])
def test_what_is_no_call_is_one_without_a_name(broken: Any) -> None:
    assert read_call(broken) == ToolCall("", "", {})
