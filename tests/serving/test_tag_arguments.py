"""Arguments that are written one by one: what a grammar lets come is read as arguments that the schema takes."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import llguidance
import pytest

from foreword.engine.trial_compiler import Bytes
from foreword.errors import ParameterError
from foreword.serving.tag_arguments import TagArguments
from foreword.serving.tool_forms.base import ParameterShape, ToolForm
from foreword.serving.tool_forms.choice import FORMS
from serving.reading import read

FORMS_WITH_TAGS = [form for form in FORMS if form.shape is not None and form.shape.parameters is not None]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "any"},
        "short": {"type": "string", "minLength": 1, "maxLength": 4},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "color": {"enum": ["red", "green"]},
        "fixed": {"const": "x"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "place": {"$ref": "#/$defs/place"},
    },
    "required": ["text", "short", "count", "color", "fixed", "place"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"x": {"type": "boolean"}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}


def shape_of(form: type[ToolForm]) -> ParameterShape:
    assert form.shape is not None
    assert form.shape.parameters is not None
    return form.shape.parameters


def arguments(form: type[ToolForm], strict: bool = True) -> TagArguments:
    return TagArguments(shape_of(form), lambda text: [json.dumps(text, ensure_ascii=False)], "a", "f", strict)


@pytest.mark.parametrize("form", FORMS_WITH_TAGS, ids=lambda form: form.name)
def test_what_a_grammar_lets_come_is_read_as_the_schema_wants_it(form: type[ToolForm]) -> None:
    parameters, shape = shape_of(form), form.shape
    assert shape is not None
    rule = arguments(form).rule(SCHEMA)
    values: list[tuple[str, str, bool]] = [
        ("text", 'a </b> "x"\n<', True),
        ("short", "</>", True),
        ("count", "7", False),
        ("color", "red", True),
        ("fixed", "x", True),
        ("place", '{"x": true}', False),
    ]
    text = "".join(parameters.written(*value) for value in values)
    assert takes(rule, text)
    assert not takes(rule, text.replace("red", "blue"))
    assert not takes(rule, text.replace("</>", "</>//"))
    assert not takes(rule, "".join(parameters.written(*value) for value in values[1:])), "text is required"
    call = f"{shape.begin}{shape.before_name}f{shape.before_arguments}{text}{shape.after_arguments}{shape.end}"
    found: Any = read([call], {"f": SCHEMA}, form)
    ((name, told),) = found
    assert name == "f"
    assert jsonschema_rs.is_valid(SCHEMA, json.loads(told)), told


def takes(rule: str, text: str) -> bool:
    """Whether a grammar lets a text come, whole."""
    vocabulary = Bytes(300, {"<end>": 0})
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(vocabulary), eos_token=[0], slices=[])
    matcher = llguidance.LLMatcher(tokenizer, f"start: {rule}\n", log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return all(map(matcher.consume_token, vocabulary(text))) and matcher.is_accepting()


REFUSED: Mapping[str, Any] = {
    "a pattern": {"properties": {"a": {"type": "string", "pattern": "^x$"}}},
    "a union of a bound text": {"properties": {"a": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer"}]}}},
    "a text that reads as a number": {"properties": {"a": {"enum": ["5", "x"]}}},
    "rules between properties": {"properties": {"a": {}}, "dependentRequired": {"a": ["b"]}},
    "a name with a bracket": {"properties": {"a>b": {"type": "string"}}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_where_it_must_be(name: str) -> None:
    form = FORMS_WITH_TAGS[0]
    with pytest.raises(ParameterError, match="cannot be"):
        arguments(form).rule(REFUSED[name])


def test_where_nobody_asked_for_it_it_is_kept_as_far_as_it_can_be() -> None:
    form = FORMS_WITH_TAGS[0]
    rule = arguments(form, strict=False).rule(REFUSED["a pattern"])
    assert takes(rule, shape_of(form).written("a", "anything", is_string=True))
    free = arguments(form, strict=False).rule({"type": "object"})
    assert takes(free, shape_of(form).written("whatever", "5", is_string=True))
    assert takes(free, "")
