"""The items of a response, and their events."""

import json
import re
from typing import Any

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from foreword.outputs import Logprob
from foreword.prompt.vendor_forms.reasoning import read_encrypted, read_thought
from foreword.server.openai.response_items import Event, Output
from foreword.serving.neutral import Choice, Namespaced
from serving.choices import choices

CALL = '<tool_call>{"name": "look", "arguments": {"at": "dög"}}</tool_call>'
TEXT = f"Wait. {CALL}{CALL}So."


def made(
    pieces: list[str], names: tuple[str, ...] = ("look",), status: str = "completed", **more: Any
) -> tuple[Output, list[Event]]:
    output, events = Output("1", 0, **more), []
    for choice in choices(pieces, names):
        events += output.feed(choice)
    return output, events + output.finish(status)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_calls_are_items_of_their_own_between_messages(size: int) -> None:
    output, events = made([TEXT[at : at + size] for at in range(0, len(TEXT), size)])
    first, *calls, last = output.items
    assert [item["content"][0]["text"] for item in (first, last)] == ["Wait.", "So."]
    assert all(json.loads(call["arguments"]) == {"at": "dög"} and call["name"] == "look" for call in calls)
    assert len(calls) == 2
    assert len({item["id"] for item in output.items}) == 4
    assert len({call["call_id"] for call in calls}) == 2
    assert {item["status"] for item in output.items} == {"completed"}
    done = [fields for kind, fields in events if kind == "response.output_item.done"]
    assert [fields["item"] for fields in done] == output.items
    assert [fields["output_index"] for fields in done] == [0, 1, 2, 3]
    texts = [
        "".join(f["delta"] for k, f in events if k == "response.output_text.delta" and f["output_index"] == at)
        for at in (0, 3)
    ]
    assert texts == ["Wait.", "So."]


def test_every_event_is_one_that_the_sdk_knows() -> None:
    known: Any = TypeAdapter(ResponseStreamEvent)
    events = made([TEXT])[1]
    assert {kind for kind, _ in events} >= {
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    }
    for number, (kind, fields) in enumerate(events):
        assert known.validate_python({"type": kind, "sequence_number": number, **fields}).type == kind


def test_without_tools_all_is_one_message() -> None:
    output, _ = made([TEXT[:20], TEXT[20:]], names=(), status="incomplete")
    (item,) = output.items
    assert (item["content"][0]["text"], item["status"]) == (TEXT, "incomplete")


def test_an_answer_without_anything_is_an_empty_message() -> None:
    output, events = made([""])
    assert [item["content"][0]["text"] for item in output.items] == [""]
    assert [kind for kind, _ in events] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]


def test_a_call_alone_makes_no_message() -> None:
    assert [item["type"] for item in made([CALL])[0].items] == ["function_call"]


def test_logprobs_of_tokens_without_text_go_with_the_next_text() -> None:
    """A character may be made of several tokens; the model's end is none."""
    output = Output("1", 0)

    def told(token: int) -> tuple[dict[int, Logprob], ...]:
        return ({token: Logprob(-1.0, 1, str(token))},)

    events = output.feed(Choice(0, (), (1,), None, None, told(1)))
    events += output.feed(Choice(0, ("é",), (2,), None, None, told(2)))
    events += output.feed(Choice(0, (), (3,), "stop", None, told(3)))
    events += output.finish("completed")
    (delta,) = [fields for kind, fields in events if kind == "response.output_text.delta"]
    assert [entry["token"] for entry in delta["logprobs"]] == ["1", "2"]
    assert [entry["token"] for entry in output.items[0]["content"][0]["logprobs"]] == ["1", "2", "3"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_thoughts_are_items_of_their_own(size: int) -> None:
    text = f"<think>I could {CALL}</think>\n\nWait. {CALL}"
    output, events = made([text[at : at + size] for at in range(0, len(text), size)], encrypted=True)
    thought, message, call = output.items
    assert (thought["type"], thought["summary"], thought["status"]) == ("reasoning", [], "completed")
    assert thought["content"] == [{"type": "reasoning_text", "text": f"I could {CALL}"}]
    assert read_encrypted(thought["encrypted_content"]) == f"I could {CALL}"
    assert read_thought({**thought, "content": None}) == f"I could {CALL}"
    assert (message["content"][0]["text"], call["name"]) == ("Wait.", "look")
    told = [fields["delta"] for kind, fields in events if kind == "response.reasoning_text.delta"]
    assert "".join(told) == f"I could {CALL}"
    known: Any = TypeAdapter(ResponseStreamEvent)
    for number, (kind, fields) in enumerate(events):
        assert known.validate_python({"type": kind, "sequence_number": number, **fields}).type == kind
    open_items = 0
    for kind, _ in events:
        open_items += (kind == "response.output_item.added") - (kind == "response.output_item.done")
        assert open_items in (0, 1)


def test_thoughts_are_not_told_twice_without_need() -> None:
    output, _ = made(["<think>Hm.</think>So."])
    assert "encrypted_content" not in output.items[0]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_arguments_are_streamed_and_joined_they_are_the_arguments(size: int) -> None:
    output, events = made([CALL[at : at + size] for at in range(0, len(CALL), size)])
    (call,) = output.items
    deltas = [fields["delta"] for kind, fields in events if kind == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call["arguments"] == '{"at": "dög"}'
    assert (len(deltas) > 3) == (size == 1)
    (done,) = [fields for kind, fields in events if kind == "response.function_call_arguments.done"]
    assert (done["arguments"], done["name"]) == ('{"at": "dög"}', "look")
    assert re.fullmatch("[a-zA-Z0-9]{9}", call["call_id"])


def test_a_call_that_is_cut_is_incomplete() -> None:
    output, _ = made([CALL[: CALL.index("ög")]], status="incomplete")
    (call,) = output.items
    assert call["status"] == "incomplete"
    json.loads(call["arguments"])


def test_a_tool_of_a_namespace_is_told_by_it() -> None:
    output, events = made([CALL], namespaces={"look": Namespaced("eyes", "open")})
    (call,) = output.items
    assert (call["name"], call["namespace"]) == ("open", "eyes")
    (added,) = [fields["item"] for kind, fields in events if kind == "response.output_item.added"]
    assert (added["name"], added["namespace"]) == ("open", "eyes")
