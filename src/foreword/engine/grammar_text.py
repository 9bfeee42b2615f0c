"""The form of an answer as a grammar's text, in llguidance's variant of Lark."""

import json
from collections.abc import Mapping
from typing import Any

from foreword.engine.json_schema import ANY_OBJECT, Schema, prepared, read_schema, schema_text
from foreword.errors import ParameterError
from foreword.sampling_params import StructuredOutputs

FIELD = "structured_outputs"
MOST_CHARACTERS: dict[str, int] = {"json": 2**18, "choice": 2**18, "grammar": 2**16, "regex": 2**14}
"""Of each way to say a form; a grammar made of several parts has no limit of its own."""
BLANKS = r"\x20|\x0A[\x20\x09]{0,40}"
"""What may stand between the parts of JSON: a blank, or a line's end and an indentation. Small models would write no end."""


def rule_of(wanted: StructuredOutputs, field: str = FIELD) -> str:
    """A form as what stands behind a rule's name. ParameterError for one that cannot be kept; a grammar is no such form.

    ``field``: its name in errors.
    """
    if wanted.regex is not None:
        _check_length("regex", wanted.regex, field)
        return regex_rule(wanted.regex)
    if wanted.choice is not None:
        _check_length("choice", "".join(wanted.choice), field)
        return " | ".join(map(literal, wanted.choice))
    given = ANY_OBJECT if wanted.json is None else wanted.json
    options = json_options(wanted.disable_any_whitespace, wanted.whitespace_pattern)
    return json_rule(prepared(read_schema(given, field), field, options, wanted.disable_additional_properties), field)


def grammar_of(wanted: StructuredOutputs, field: str = FIELD) -> str:
    """A form as a whole grammar."""
    if wanted.grammar is None:
        return f"start: {rule_of(wanted, field)}\n"
    _check_length("grammar", wanted.grammar, field)
    return _as_lark(wanted.grammar, field) if "::=" in wanted.grammar else wanted.grammar


def with_parts(main: str, parts: Mapping[str, str]) -> str:
    """A grammar that names others as ``@name``, and those."""
    if not parts:
        return main
    grammars = [{"name": "main", "lark_grammar": main}]
    return json.dumps({"grammars": [*grammars, *({"name": name, "lark_grammar": text} for name, text in parts.items())]})


def json_options(compact: bool = False, blanks: str | None = None, lenient: bool = False) -> dict[str, Any]:
    """How llguidance is to read a schema; with ``lenient`` it passes over what it cannot keep."""
    spaces = {"whitespace_flexible": False} if compact else {"whitespace_pattern": blanks or BLANKS}
    return {**spaces, "lenient": lenient, "coerce_one_of": lenient}


def json_rule(schema: Schema, field: str) -> str:
    """What follows a schema, as a rule. ParameterError for one that is too long."""
    text = schema_text(schema, field)
    _check_length("json", text, field)
    return f"%json {text}"


def regex_rule(pattern: str) -> str:
    """What matches an expression, as a rule."""
    from llguidance import regex_to_lark

    return f"/{regex_to_lark(pattern, '')}/"


def literal(text: str) -> str:
    """A text as a rule."""
    return json.dumps(text, ensure_ascii=False)


def _as_lark(grammar: str, field: str) -> str:
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return any_to_lark(grammar)
    except Exception as error:  # it raises bare Exception
        raise ParameterError(f"{field} cannot be read as GBNF: {error}") from None


def _check_length(kind: str, text: str, field: str) -> None:
    if len(text) > MOST_CHARACTERS[kind]:
        raise ParameterError(f"{field}: its {kind} has {len(text)} characters; it may have {MOST_CHARACTERS[kind]}.")
