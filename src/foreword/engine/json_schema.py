"""JSON schemas as llguidance takes them: what cannot change an answer is left out, what it would not keep is refused."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from foreword.errors import ParameterError

Schema = dict[str, Any]
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
"""Formats of strings that are kept. For JSON Schema a format is a remark, so others are passed over."""
WITHIN = ("additionalProperties", "additionalItems", "items", "contains", "not", "if", "then", "else", "propertyNames")
LISTS = ("anyOf", "allOf", "oneOf", "prefixItems", "items")
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
COMPOSED = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties", "anyOf", "oneOf", "$ref"})
"""Beside one of these a schema's own properties are not all that there may be."""
OPTIONS = "x-guidance"
"""By this key of a schema llguidance is told how to read it."""
ANY_OBJECT: Schema = {"type": "object"}


def read_schema(given: str | Mapping[str, Any] | bool, name: str) -> Schema:
    """A schema that came as JSON text, as an object or as a boolean. ParameterError if it is none."""
    value: Any = given
    if isinstance(given, str):
        try:
            value = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise ParameterError(f"{name} is not valid JSON: {error or 'it is nested too deeply'}.") from None
    if value is False:
        raise ParameterError(f"{name} is false: no JSON is valid by it.")
    if value is not True and not isinstance(value, Mapping):
        raise ParameterError(f"{name} is of the kind {type(value).__name__}; a JSON schema is an object.")
    return {} if value is True else dict(value)


def prepared(schema: Schema, name: str, options: Mapping[str, Any], named_only: bool = False) -> Schema:
    """A schema for llguidance, to be read by ``options``; with ``named_only`` objects have no other properties than named.

    ParameterError where answers would be taken for valid that are not.
    """
    try:
        named_only = named_only and '"allOf"' not in schema_text(schema, name)
        found = _walk(schema, lambda part: _part(part, name, named_only))
    except RecursionError:
        raise ParameterError(f"{name} is nested too deeply.") from None
    return {**found, OPTIONS: dict(options)}


def schema_text(schema: Schema, name: str) -> str:
    """A schema as JSON. ParameterError for what JSON has no words for."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(f"{name} is no JSON: {error or 'it is nested too deeply'}.") from None
    return text


def _part(part: Schema, name: str, named_only: bool) -> Schema:
    """One schema of a schema, without those within it."""
    if part.get("format") is not None and part["format"] not in FORMATS:
        part = {key: value for key, value in part.items() if key != "format"}
    if named_only and "properties" in part and not COMPOSED & part.keys():
        part = {**part, "additionalProperties": False}
    _check_count(part, name)
    return part


def _check_count(part: Schema, name: str) -> None:
    """ParameterError where so many properties are asked for that some names may come twice: one that is not listed can."""
    least, listed = part.get("minProperties"), part.get("required", [])
    closed = part.get("additionalProperties") is False and not part.get("patternProperties")
    if isinstance(least, int) and isinstance(listed, list) and least > len(listed) + 1 and not closed:
        raise ParameterError(
            f"{name}: 'minProperties' of {least} cannot be kept where names are free, as they may come twice. List the "
            f"properties, or leave it out."
        )


def _walk(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """A schema in which every schema has been changed."""
    if not isinstance(schema, Mapping):
        return schema
    new = change(dict(schema))
    return {**new, **dict(_within(new, change))}


def _within(schema: Schema, change: Callable[[Schema], Schema]) -> Iterator[tuple[str, Any]]:
    """The keys of a schema that hold others, with those changed."""
    for key in WITHIN:
        if isinstance(schema.get(key), Mapping):
            yield key, _walk(schema[key], change)
    for key in LISTS:
        if isinstance(schema.get(key), list):
            yield key, [_walk(each, change) for each in schema[key]]
    for key in MAPS:
        if isinstance(schema.get(key), Mapping):
            yield key, {name: _walk(each, change) for name, each in schema[key].items()}
