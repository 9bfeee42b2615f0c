"""JSON schemas: those of frameworks and of the kinds that test suites and collections have; and some that cannot be kept."""

from typing import Any

Schema = dict[str, Any]


def record(**properties: Any) -> Schema:
    """An object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


TEXT, WHOLE, NUMBER, TRUTH, NOTHING = ({"type": kind} for kind in ("string", "integer", "number", "boolean", "null"))
SHORT = {"type": "string", "maxLength": 6}
SMALL = {"type": "integer", "minimum": -9, "maximum": 99}
DIGITS = {"type": "string", "pattern": "^[0-9]{3}-[0-9]{2}$"}

KEPT: dict[str, Any] = {
    "true": True,
    "empty": {},
    "boolean": TRUTH,
    "null": NOTHING,
    "whole number between": SMALL,
    "whole number, exclusive": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 5},
    "whole number, multiple": {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 500},
    "number between": {"type": "number", "minimum": 0, "maximum": 1},
    "number, exclusive": {"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": 1.5},
    "short text": SHORT,
    "text of a length": {"type": "string", "minLength": 2, "maxLength": 4},
    "pattern": DIGITS,
    "pattern without anchors": {"type": "string", "pattern": "ab|cd", "maxLength": 6},
    "pattern of letters": {"type": "string", "pattern": "^\\w{1,3}\\s\\d$"},
    "date": {"type": "string", "format": "date"},
    "date and time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "a format nobody knows": record(
        a={"type": "string", "format": "password", "maxLength": 4}, b={**SMALL, "format": "int32"}
    ),
    "constant": {"const": {"a": [1, "x", None]}},
    "enumeration": {"enum": ["red", 1, 2.5, None, True, [1], {"a": "b"}]},
    "several types": {"type": ["integer", "null", "boolean"], "minimum": 0, "maximum": 9},
    "record": record(name=SHORT, age=SMALL, member=TRUTH),
    "optional properties": {"type": "object", "properties": {"a": SMALL, "b": SHORT}, "additionalProperties": False},
    "other properties": {"type": "object", "properties": {"a": SMALL}, "additionalProperties": SMALL, "maxProperties": 3},
    "patterns of properties": {"type": "object", "patternProperties": {"^x": SMALL}, "additionalProperties": False},
    "at least one property": {"type": "object", "additionalProperties": SMALL, "minProperties": 1, "maxProperties": 2},
    "nested": record(a=record(b=record(c=record(d=SMALL)))),
    "list": {"type": "array", "items": SMALL, "minItems": 1, "maxItems": 3},
    "list of records": {"type": "array", "items": record(k=SHORT), "maxItems": 2},
    "tuple": {"type": "array", "prefixItems": [SMALL, SHORT], "items": False, "minItems": 2},
    "tuple of draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [SMALL, SHORT],
        "additionalItems": False,
    },
    "any of": {"anyOf": [SMALL, DIGITS, NOTHING]},
    "one of, told apart": {
        "oneOf": [record(kind={"const": "cat"}, lives=SMALL), record(kind={"const": "dog"}, good=TRUTH)],
        "discriminator": {"propertyName": "kind"},
    },
    "all of": {"allOf": [{"type": "object", "properties": {"a": SMALL}, "required": ["a"]}, record(a={"type": "integer"})]},
    "beside a reference": {"$ref": "#/$defs/n", "maximum": 50, "$defs": {"n": SMALL}},
    "definitions": {**record(home={"$ref": "#/$defs/place"}), "$defs": {"place": record(city=SHORT, code=DIGITS)}},
    "definitions of draft 7": {**record(a={"$ref": "#/definitions/n"}), "definitions": {"n": SMALL}},
    "a tree": {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"v": SMALL, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}},
                "required": ["v"],
                "additionalProperties": False,
            }
        },
    },
    "nullable, as pydantic": record(a={"anyOf": [SHORT, NOTHING], "default": None, "title": "A"}),
    "remarks": {**record(a={**SHORT, "description": "x", "examples": ["y"]}), "$id": "urn:x", "title": "T", "x-own": [1]},
    "names that need escapes": record(**{'a"b': SMALL, "c\\d": SMALL, "é\n": SMALL, "properties": SMALL, "$ref": SMALL}),
    "values that look like schemas": {"enum": [{"format": "none"}, {"minProperties": 7}]},
}
"""By name, schemas that are kept."""
REFUSED: dict[str, tuple[Any, str]] = {
    "false": (False, "no JSON is valid"),
    "not": ({"not": {"type": "string"}}, "not"),
    "unique": ({"type": "array", "items": SMALL, "uniqueItems": True}, "uniqueItems"),
    "contains": ({"type": "array", "contains": SMALL}, "contains"),
    "conditions": ({"if": {"type": "string"}, "then": {}}, "if"),
    "dependencies": ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    "names": ({"type": "object", "propertyNames": {"pattern": "^a"}}, "propertyNames"),
    "one of, not told apart": ({"oneOf": [NUMBER, WHOLE]}, "oneOf"),
    "look-ahead": ({"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
    "elsewhere": ({"$ref": "http://example.org/schema"}, "example.org"),
    "nowhere": ({"$ref": "#/$defs/none"}, "$defs/none"),
    "unknown type": ({"type": "text"}, "text"),
    "contradiction": ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum"),
    "nothing allowed": ({"enum": []}, "empty"),
    "names that may come twice": ({"type": "object", "minProperties": 3}, "minProperties"),
    "inside": (record(a={"type": "array", "items": {"allOf": [{"type": "object", "minProperties": 4}]}}), "minProperties"),
    "told to be lenient": ({"not": {}, "x-guidance": {"lenient": True}}, "not"),
}
"""By name, schemas that cannot be kept, and what the error names."""


def _chain(length: int) -> Schema:
    steps = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{length}": SMALL}}


def _nested(depth: int) -> Schema:
    schema = SMALL
    for _ in range(depth):
        schema = record(a=schema)
    return schema


def _has(name: str, schema: Schema) -> Schema:
    return {"properties": {name: schema}}


TOO_MUCH: dict[str, tuple[Any, str]] = {
    "a huge step": ({"type": "integer", "multipleOf": 1_000_003}, "2 s"),
    "a chain of references": (_chain(3000), "deep"),
    "many levels": (_nested(200), "recursion"),
    "very many levels": (_nested(100_000), "deep"),
    "many of each": ({"allOf": [{"anyOf": [_has(f"a{n}", SMALL), _has(f"b{n}", SHORT)]} for n in range(24)]}, "large"),
    "long": ({"enum": [f"value {at}" for at in range(50_000)]}, "characters"),
}
"""By name, schemas that would take too much, and what the error says."""
