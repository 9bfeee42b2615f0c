import json

import pytest

from foreword.observe.reordered import reordering

A, B = {"name": "search", "parameters": {"q": 1}}, {"type": "function", "function": {"name": "send"}}


def where(old: str, new: str) -> int:
    return next(index for index, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)


def kind(old: str, new: str) -> str | None:
    return reordering(old, new, where(old, new))


@pytest.mark.parametrize("write", [json.dumps, lambda tools: "\n".join(map(json.dumps, tools))], ids=["list", "lines"])
def test_tools_in_another_order(write) -> None:  # type: ignore[no-untyped-def]
    assert kind(f"Tools: {write([A, B])} end", f"Tools: {write([B, A])} end") == "tools"
    assert kind(f"Tools: {write([A, B])} end", f"Tools: {write([B, B])} end") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ('{"x": {"a": 1, "b": [1, 2]}}', '{"x": {"b": [1, 2], "a": 1}}'),
        ('{"a": 1}', '{"a":1}'),
        ('{"a": "é"}', '{"a": "\\u00e9"}'),
    ],
)
def test_the_same_json_written_otherwise(old: str, new: str) -> None:
    assert kind(f"Here [1] is {old} end", f"Here [1] is {new} end") == "json"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1, 2]", "[2, 1]"),
        ('{"a": 1}', '{"a": 2}'),
        ("{a: 1", "{b: 2"),
        ("plain", "text"),
        ("[" * 3000 + "1", "[" * 3000 + "2"),
    ],
)
def test_what_means_something_else_is_not_reordered(old: str, new: str) -> None:
    assert kind(f"Here {old} end", f"Here {new} end") is None


def test_a_difference_behind_the_json_is_none_of_its_own() -> None:
    assert kind('{"a": 1, "b": 2} x', '{"a": 1, "b": 2} y') is None
