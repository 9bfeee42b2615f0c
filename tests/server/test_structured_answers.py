"""Answers of a form, over HTTP: as clients ask for them, in every dialect, with a model of random weights."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from server.live import Live

Json = dict[str, Any]
CITY: Json = {
    "type": "object",
    "title": "City",
    "properties": {"name": {"type": "string", "maxLength": 4, "title": "Name"}, "country": {"enum": ["fr", "de"]}},
    "required": ["name", "country"],
}
STRICT = {**CITY, "additionalProperties": False}
FORMAT = {"type": "json_schema", "schema": STRICT}
UNIQUE = {"type": "array", "uniqueItems": True}
TWO = {"type": "json_schema", "json_schema": {"name": "n", "schema": UNIQUE}}
OTHER = {"type": "function", "function": {"name": "b"}}
NAMED = {"name": "City", "strict": True, "schema": STRICT}
ASKS = [{"role": "user", "content": "Name a city."}]
ASKED: Json = {"model": "tiny", "messages": ASKS, "max_tokens": 300}


@pytest.fixture
def http(live: Live) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=live.url, timeout=240) as client:
        yield client


def function(name: str, schema: Json = STRICT, **more: Any) -> Json:
    """A tool of chat completions."""
    return {"type": "function", "function": {"name": name, "description": "Does it.", "parameters": schema, **more}}


def flat(name: str, schema: Json = STRICT, **more: Any) -> Json:
    """The same for the responses endpoint."""
    return {"type": "function", "name": name, "description": "Does it.", "parameters": schema, **more}


def chat(http: httpx2.Client, **body: Any) -> Json:
    """The first choice of a chat completion."""
    answer = http.post(
        "/v1/chat/completions", json={"model": "tiny", "messages": ASKS, "max_tokens": 300, "seed": 4, **body}
    )
    assert answer.status_code == 200, answer.text
    choice: Json = answer.json()["choices"][0]
    return choice


def respond(http: httpx2.Client, **body: Any) -> Json:
    """A response."""
    answer = http.post("/v1/responses", json={"model": "tiny", "input": ASKS, "max_output_tokens": 300, **body})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def message(http: httpx2.Client, **body: Any) -> Json:
    """A message of the other dialect."""
    answer = http.post("/v1/messages", json={**ASKED, **body})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def refused(http: httpx2.Client, path: str = "/v1/chat/completions", **body: Any) -> str:
    """What is said of a request that is refused."""
    more: Json = {"input": ASKS} if path.endswith("responses") else {"messages": ASKS, "max_tokens": 9}
    answer = http.post(path, json={"model": "tiny", **more, **body})
    assert answer.status_code == 400, answer.text
    said: str = answer.json()["error"]["message"]
    return said


@pytest.mark.parametrize(
    "wanted",
    [
        {"response_format": {"type": "json_schema", "json_schema": NAMED}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "City", "schema": CITY}}},
        {"structured_outputs": {"json": CITY}},
        {"guided_json": json.dumps(STRICT), "guided_decoding_backend": "xgrammar"},
    ],
)
def test_a_schema_in_chat_completions(http: httpx2.Client, wanted: Json) -> None:
    choice = chat(http, **wanted, temperature=0.7)
    if choice["finish_reason"] == "stop":
        assert jsonschema_rs.is_valid(CITY, json.loads(choice["message"]["content"]))
    else:
        assert choice["finish_reason"] == "length"


def test_any_object_and_a_cut_one(http: httpx2.Client) -> None:
    for tokens in (1, 3, 200):
        choice = chat(http, response_format={"type": "json_object"}, max_tokens=tokens)
        content = choice["message"]["content"]
        assert content.startswith("{")
        assert choice["finish_reason"] == "length" or isinstance(json.loads(content), dict)
    assert chat(http, response_format={"type": "json_object"}, max_tokens=1)["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("wanted", "texts"),
    [
        ({"structured_outputs": {"choice": ["yes", "no"]}}, {"yes", "no"}),
        ({"guided_choice": ["yes", "no"]}, {"yes", "no"}),
        ({"structured_outputs": {"regex": "a[bc]"}}, {"ab", "ac"}),
        ({"guided_regex": "a[bc]"}, {"ab", "ac"}),
        ({"structured_outputs": {"grammar": 'start: "a" ("b" | "c")'}}, {"ab", "ac"}),
        ({"guided_grammar": 'root ::= "a" ("b" | "c")'}, {"ab", "ac"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1, 2]}}}}, {"1", "2"}),
    ],
)
def test_forms_in_both_completions_endpoints(http: httpx2.Client, wanted: Json, texts: set[str]) -> None:
    choice = chat(http, **wanted)
    assert (choice["message"]["content"] in texts, choice["finish_reason"]) == (True, "stop")
    answer = http.post("/v1/completions", json={"model": "tiny", "prompt": "Yes or no?", "n": 2, **wanted}).json()
    assert all(choice["text"] in texts and choice["finish_reason"] == "stop" for choice in answer["choices"])


def test_a_stream_of_a_form(http: httpx2.Client) -> None:
    body = {"model": "tiny", "messages": ASKS, "stream": True, "guided_choice": ["a long answer"]}
    with http.stream("POST", "/v1/chat/completions", json=body) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: {")]
    assert "".join(each["choices"][0]["delta"].get("content") or "" for each in events) == "a long answer"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "look"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "look"}}]},
        },
    ],
)
def test_a_call_is_made_where_one_is_asked_for(http: httpx2.Client, choice: Any, strict: bool) -> None:
    tools = [function("look", strict=strict)] if choice == "required" else [function("look", strict=strict), function("go")]
    found = chat(http, tools=tools, tool_choice=choice, parallel_tool_calls=False)
    (call,) = found["message"]["tool_calls"]
    assert call["function"]["name"] == "look"
    if found["finish_reason"] == "tool_calls":
        assert jsonschema_rs.is_valid(STRICT, json.loads(call["function"]["arguments"]))


TAGGED: Json = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "maxLength": 3},
        "b": {"enum": ["fr", "de"]},
        "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 1},
    },
    "required": ["a", "b", "c"],
    "additionalProperties": False,
}


LONGEST = 400
"""Tokens: in DeepSeek's tags a call of ``look`` has 318 bytes, and the model of the tests has little more than bytes."""


@pytest.mark.parametrize("form", ["qwen-xml", "glm", "minimax", "deepseek-tags", "gemma"])
def test_a_call_is_forced_in_every_form(serve: Callable[..., Live], form: str) -> None:
    look = {"type": "function", "function": {"name": "look", "parameters": TAGGED, "strict": True}}
    ended = 0
    with httpx2.Client(base_url=serve(tool_call_form=form).url, timeout=240) as http:
        for choice in ("required", {"type": "function", "function": {"name": "look"}}):
            for seed in range(2):
                found = chat(
                    http, tools=[look], tool_choice=choice, seed=seed, parallel_tool_calls=False, max_tokens=LONGEST
                )
                (call,) = found["message"]["tool_calls"]
                assert call["function"]["name"] == "look"
                if found["finish_reason"] == "tool_calls":
                    ended += 1
                    assert jsonschema_rs.is_valid(TAGGED, json.loads(call["function"]["arguments"])), call
        assert ended
        unkept = function("f", {"properties": {"a": {"type": "string", "pattern": "^x$"}}}, strict=True)
        if form != "gemma":
            assert "'f'" in refused(http, tools=[unkept], tool_choice="required")


def test_a_tool_without_arguments(http: httpx2.Client) -> None:
    tool = {"type": "function", "function": {"name": "now"}}
    found = chat(http, tools=[tool], tool_choice="required", parallel_tool_calls=False)
    assert found["finish_reason"] == "tool_calls"
    assert json.loads(found["message"]["tool_calls"][0]["function"]["arguments"]) == {}


def test_a_tool_whose_schema_nobody_asked_to_be_kept(http: httpx2.Client) -> None:
    """It is followed as far as can be; a strict one is refused."""
    odd = {**CITY, "not": {"required": ["x"]}}
    found = chat(http, tools=[function("look", odd)], tool_choice="required", parallel_tool_calls=False)
    assert found["message"]["tool_calls"][0]["function"]["name"] == "look"
    said = refused(http, tools=[function("look", odd, strict=True)])
    assert "look" in said
    assert "not" in said


def test_a_strict_tool_leaves_text_alone(http: httpx2.Client) -> None:
    found = chat(http, tools=[function("look", strict=True)], max_tokens=30)
    assert found["finish_reason"] in ("length", "stop", "tool_calls")
    stopped = chat(http, tools=[function("look", strict=True)], max_tokens=30, stop=["e"], min_tokens=1)
    assert "e" not in (stopped["message"]["content"] or "")


def test_responses(http: httpx2.Client) -> None:
    found = respond(http, text={"format": {"type": "json_schema", **NAMED}})
    assert found["text"]["format"]["schema"] == STRICT
    if found["status"] == "completed":
        assert jsonschema_rs.is_valid(CITY, json.loads(found["output"][0]["content"][0]["text"]))
    one = respond(http, tools=[flat("City", strict=True), flat("go")], tool_choice={"type": "function", "name": "City"})
    assert one["output"][0]["name"] == "City"
    both = {"text": {"format": {"type": "json_schema", **NAMED}}, "tool_choice": {"type": "function", "name": "City"}}
    assert respond(http, tools=[flat("City")], **both)["output"][0]["type"] == "function_call"
    assert respond(http, tools=[flat("go", strict=True)], tool_choice="auto", max_output_tokens=9)["tool_choice"] == "auto"


def test_a_form_beside_tools_that_may_be_called(http: httpx2.Client) -> None:
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1, 2]}}}}
    found = chat(http, tools=[function("look")], **wanted)
    assert found["message"]["content"] in ("1", "2") or found["message"]["tool_calls"]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look", "disable_parallel_tool_use": True}])
def test_forced_tools_of_the_other_dialect(http: httpx2.Client, choice: Json) -> None:
    tools = [{"name": "look", "description": "Does it.", "input_schema": STRICT, "strict": True}]
    found = message(http, tools=tools, tool_choice={**choice, "disable_parallel_tool_use": True})
    (block,) = found["content"]
    assert (block["type"], block["name"]) == ("tool_use", "look")
    if found["stop_reason"] == "tool_use":
        assert jsonschema_rs.is_valid(STRICT, block["input"])


@pytest.mark.parametrize(
    "form", [{"output_config": {"format": {"type": "json_schema"}}}, {"output_format": {"type": "json_schema"}}]
)
def test_output_formats_of_the_other_dialect(http: httpx2.Client, form: Json) -> None:
    inner = form.get("output_format") or form["output_config"]["format"]
    inner["schema"] = STRICT
    found = message(http, **form)
    if found["stop_reason"] == "end_turn":
        assert jsonschema_rs.is_valid(STRICT, json.loads(found["content"][0]["text"]))


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (
            "chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": UNIQUE}}},
            "unique",
        ),
        ("chat/completions", {"response_format": {"type": "json_object"}, "stop": ["}"]}, "stop"),
        ("chat/completions", {"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ("chat/completions", {"guided_regex": "(?=a)"}, "guided_regex"),
        ("chat/completions", {"structured_outputs": {}}, "exactly one"),
        ("chat/completions", {"structured_outputs": {"structural_tag": "x"}}, "structural_tag"),
        ("chat/completions", {"guided_grammar": "no grammar"}, "guided_grammar"),
        ("chat/completions", {"tool_choice": "required"}, "no tools"),
        ("chat/completions", {"tools": [function("a")], "tool_choice": "required", "stop": ["x"]}, "stop"),
        (
            "chat/completions",
            {"tools": [function("a")], "tool_choice": {"type": "function", "function": {"name": "b"}}},
            "'b'",
        ),
        ("responses", {"text": {"format": {"type": "json_schema", "name": "n", "schema": UNIQUE}}}, "text.format"),
        ("responses", {"tools": [flat("a")], "tool_choice": {"type": "function", "name": "b"}}, "'b'"),
        ("messages", {"output_config": {"format": {"type": "json_schema", "schema": UNIQUE}}}, "output_config.format"),
        ("messages", {"tool_choice": {"type": "any"}}, "tool_choice"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(http: httpx2.Client, path: str, body: Json, says: str) -> None:
    assert says in refused(http, f"/v1/{path}", **body)
