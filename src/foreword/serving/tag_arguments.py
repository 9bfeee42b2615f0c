"""Arguments of calls that are written one by one in tags, each as it is, as rules of a grammar."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from foreword.engine.grammar_text import json_options, json_rule
from foreword.engine.json_schema import prepared
from foreword.errors import ParameterError
from foreword.serving.tool_forms.base import ParameterShape
from foreword.serving.tool_forms.parameters import kinds_of, referred

Schema = Mapping[str, Any]
Pieces = Callable[[str], list[str]]
"""A text of the form as rules: special tokens as such, the rest as it is."""
ANY = "/(.|\\n)*/"
REMARKS = frozenset({"type", "title", "description", "default", "examples", "deprecated", "$comment", "anyOf", "oneOf"})
"""What a schema may say of a string without binding it."""
BINDS = (
    "patternProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "dependentRequired",
    "dependentSchemas",
    "minProperties",
)
"""What binds an object beyond its properties one by one, and cannot be kept where they are written one by one."""


class TagArguments:
    """Makes the rules of one tool's arguments.

    prefix
        With which names of rules begin that are made for it.
    strict
        Whether the schema must be kept: ParameterError, with ``field``, where that cannot be. Else as far as it can.
    """

    def __init__(self, shape: ParameterShape, pieces: Pieces, prefix: str, field: str, strict: bool):
        self._shape, self._pieces = shape, pieces
        self._prefix, self._field, self._strict = prefix, field, strict
        self._rules: list[str] = []

    def rule(self, schema: Schema) -> str:
        """What stands behind the name of the rule of the arguments, and more rules below it."""
        root = referred(schema, schema)
        if self._strict and (word := next((word for word in BINDS if word in root), None)):
            raise self._fault(word)
        properties, required = root.get("properties"), root.get("required")
        properties = properties if isinstance(properties, Mapping) else {}
        if not properties and root.get("additionalProperties") is not False:
            return self.free()
        needed = required if isinstance(required, list) else []
        names = []
        for number, (key, inner) in enumerate(properties.items()):
            name = f"{self._prefix}_{number}"
            self._rules.append(f"{name}: {self._argument(name, key, inner, schema)}")
            names.append(name if key in needed else f"{name}?")
        return "\n".join([" ".join(names) or '""', *self._rules])

    def free(self) -> str:
        """The same for arguments of any names."""
        name = f"{self._prefix}_any"
        head = " ".join(self._pieces(self._shape.before_key))
        middle = " ".join(self._pieces(self._shape.before_value))
        rule = f'{name}: {head} /[^<>"=\\s]{{1,64}}/ {middle} {self._text(name)}'
        return "\n".join([f"{name}*", rule, *self._rules])

    def _argument(self, name: str, key: str, schema: Any, root: Schema) -> str:
        if re.search(r'[<>"\n]', key):
            raise ParameterError(f"{self._field}: the name {key!r} cannot be written in the form in which this model calls.")
        shape, schema = self._shape, referred(schema, root)
        kinds = kinds_of(schema, root)
        head = " ".join(self._pieces(f"{shape.before_key}{key}{shape.before_value}"))
        listed = _listed(schema)
        if listed is not None:
            return " | ".join(self._whole(key, value) for value in listed)
        if "string" in kinds or not kinds:
            return f"{head} {self._string(name, schema, kinds)}"
        before = shape.before_value if shape.before_other is None else shape.before_other
        head = " ".join(self._pieces(f"{shape.before_key}{key}{before}"))
        return f"{head} {self._json(schema, root)} {' '.join(self._pieces(shape.after_value))}"

    def _whole(self, key: str, value: Any) -> str:
        """An argument with one value. A text that reads as something else than a text could not be told from that."""
        if isinstance(value, str) and _reads_as_other(value):
            raise self._fault(f"the value {value!r}")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return " ".join(self._pieces(self._shape.written(key, text, isinstance(value, str))))

    def _string(self, name: str, schema: Any, kinds: frozenset[str]) -> str:
        """A text as it is, with what follows it. One of several kinds may be any text, where it need not be another kind."""
        bound = set(schema) - REMARKS if isinstance(schema, Mapping) else set()
        if bound <= {"minLength", "maxLength"} and kinds <= {"string"}:
            return self._text(name, schema if bound else {})
        if self._strict and not _allows_any_text(schema):
            raise self._fault(", ".join(sorted(bound)) or "one of several kinds")
        return self._text(name)

    def _text(self, name: str, bounds: Schema | None = None) -> str:
        """Any text, within bounds of its length, up to what follows it."""
        pieces = self._pieces(self._shape.after_value)
        least, most = (bounds or {}).get("minLength", 0), (bounds or {}).get("maxLength", "")
        special = next((at for at, piece in enumerate(pieces) if piece.startswith("<[")), None)
        if special is None and not bounds:
            self._rules.append(f"{name}_text[lazy]: {ANY} {' '.join(pieces)}")
            return f"{name}_text"
        plain = "".join(json.loads(piece) for piece in pieces[:special])
        count = f"{{{least},{most}}}" if bounds else "*"
        escaped = re.escape(plain).replace("/", "\\/").replace("\n", "n")
        return " ".join([f"/(.|\\n){count}{escaped}/", *([] if special is None else pieces[special:])])

    def _json(self, schema: Any, root: Schema) -> str:
        shared = {word: root[word] for word in ("$defs", "definitions") if word in root}
        options = json_options(lenient=not self._strict)
        return json_rule(prepared({**shared, **schema}, self._field, options), self._field)

    def _fault(self, what: str) -> ParameterError:
        return ParameterError(
            f"{self._field}: {what} cannot be kept in the form in which this model calls tools, argument by argument. Leave "
            f"it out, or 'strict'."
        )


def _listed(schema: Any) -> list[Any] | None:
    """The values that a schema lists; None if it lists none."""
    if not isinstance(schema, Mapping):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) and values else None


def _reads_as_other(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _allows_any_text(schema: Any) -> bool:
    """Whether any text is valid by a schema, as far as it says so at once."""
    return any(not set(each) - REMARKS and _plainly_text(each) for each in _alternatives(schema))


def _alternatives(schema: Any) -> Iterator[Schema]:
    if isinstance(schema, Mapping):
        yield schema
        for word in ("anyOf", "oneOf"):
            for each in schema.get(word) or ():
                yield from _alternatives(each)


def _plainly_text(schema: Schema) -> bool:
    kind = schema.get("type")
    bare = kind is None and not {"anyOf", "oneOf"} & set(schema)
    return bare or kind == "string" or (isinstance(kind, list) and "string" in kind)
