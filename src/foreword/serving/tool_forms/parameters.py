"""Arguments that are written one by one, each between tags and as it is, told as a JSON object by what the schema says."""

import json
from collections.abc import Mapping
from typing import Any

from foreword.serving.tool_forms.base import ToolForm
from foreword.serving.tool_forms.json_text import JsonReader, quoted
from foreword.serving.tool_forms.source import MOST_KEPT, Reading, Source, marks

STRING = frozenset({"string"})


class Parameters:
    """Tells the arguments of one call.

    end
        The text that ends a value, where one of ``followers``, or the answer's end, comes behind it: values may hold it.
    """

    def __init__(self, form: ToolForm, name: str, end: str, followers: tuple[str, ...]):
        self._source = form.source
        self._tell = form.parts.arguments
        self._root = form.tools[name]
        properties = self._root.get("properties")
        self._properties: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        self._end, self._followers = marks(end), followers
        self._count = 0
        self._tell("{")

    def value(self, key: str, kinds: frozenset[str] | None = None) -> Reading[bool]:
        """Read the value of a parameter up to its end; whether that came. ``kinds``: its types, where the form says so."""
        kinds = kinds_of(self._properties.get(key), self._root) if kinds is None else kinds
        value = _Value(self._tell, kinds, f'{", " if self._count else ""}"{quoted(key)}": ')
        self._count += 1
        while (mark := (yield from self._source.to_mark(self._end, value.add))) is not None:
            blanks, sign = yield from self._source.ahead()
            if not sign or (yield from self._source.starts(*self._followers, behind=len(blanks))) is not None:
                break
            value.add(mark)
        value.finish()
        return mark is not None

    def finish(self) -> None:
        """There are no more."""
        self._tell("}")


class _Value:
    """One value as it comes: a string is told at once, all else when it is whole. A line's end at either side is no part."""

    def __init__(self, tell: Any, kinds: frozenset[str], head: str):
        self._tell, self._kinds = tell, kinds
        self._begun = False
        self._held: list[str] = []
        self._size = 0
        self._streams = kinds == {"string"}
        tell(head + '"' if self._streams else head)

    def add(self, text: str) -> None:
        if not self._begun:
            self._begun = True
            text = text[1:] if text.startswith("\n") else text
        self._held.append(text)
        self._size += len(text)
        if not self._streams and self._size > MOST_KEPT:
            self._streams = True
            self._tell('"')
        if self._streams:
            whole = "".join(self._held)
            certain = whole[:-1] if whole.endswith("\n") else whole
            self._tell(quoted(certain))
            self._held = [whole[len(certain) :]]

    def finish(self) -> None:
        if self._streams:
            self._tell('"')
            return
        text = "".join(self._held)
        self._tell(_as_json(text[:-1] if text.endswith("\n") else text, self._kinds))


def _as_json(text: str, kinds: frozenset[str]) -> str:
    """A value as JSON: a string where it may be one and is nothing better, or where it is not what it should be."""
    if "string" in kinds and not (text.strip() == "null" and "null" in kinds):
        return f'"{quoted(text)}"'
    if not kinds:
        try:
            if isinstance(json.loads(text), str):
                return f'"{quoted(text)}"'
        except (ValueError, RecursionError):
            return f'"{quoted(text)}"'
    return _told(text) or f'"{quoted(text)}"'


def _told(text: str) -> str | None:
    """A text as the JSON that it is; None if it is none as a whole."""
    source, pieces = Source(), list[str]()
    source.feed(text)
    source.end()
    reading = JsonReader(source, pieces.append).value()
    try:
        next(reading)
    except StopIteration as end:
        told = "".join(pieces)
        whole = bool(end.value) and not source.rest().strip()
        return told if whole else None
    return None


def kinds_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """The types that a schema within ``root`` allows, as far as it says so at once; none: any."""
    schema = referred(schema, root)
    if not isinstance(schema, Mapping) or depth > 4:
        return frozenset()
    given = schema.get("type")
    found = {given} if isinstance(given, str) else set(given) if isinstance(given, list | tuple) else set()
    for word in ("anyOf", "oneOf"):
        for inner in schema.get(word) or () if isinstance(schema.get(word), list | tuple) else ():
            found |= kinds_of(inner, root, depth + 1)
    if not found and isinstance(schema.get("enum"), list | tuple):
        found = {"string"} if all(isinstance(value, str) for value in schema["enum"]) else set()
    if not found and isinstance(schema.get("const"), str):
        found = {"string"}
    return frozenset(kind for kind in found if isinstance(kind, str))


def referred(schema: Any, root: Mapping[str, Any]) -> Any:
    """The schema that a reference within ``root`` means; one that is no reference, or leads nowhere, as it is."""
    for _ in range(8):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            return schema
        head, *path = schema["$ref"].split("/")
        found: Any = root if head == "#" else None
        for name in path:
            name = name.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return schema
        schema = found
    return schema
