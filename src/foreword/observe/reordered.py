"""Whether two texts part inside JSON that means the same: with its keys in another order, or its tools."""

import json
from collections.abc import Iterator
from typing import Any, Literal

MAX_STARTS = 64  # opening brackets before the place, from the nearest one backwards, that are tried

Reordering = Literal["json", "tools"]


def reordering(old: str, new: str, at: int) -> Reordering | None:
    """How the JSON in which two texts part at character ``at`` was reordered; None if that is not what happened.

    ``json``: the same values, in the same order of lists, written with other key order, spacing or escapes. ``tools``: the
    same tools (objects with a name) in another order, in one list or one after another. Up to ``at`` the texts are alike.
    """
    opened = [index for index in range(min(at, len(old) - 1), -1, -1) if old[index] in "[{"][:MAX_STARTS]
    for start in reversed(opened):  # the outermost first
        kind = _compare(old, new, start, at)
        if kind is not None:
            return kind
    return None


def _compare(old: str, new: str, start: int, at: int) -> Reordering | None:
    """Compare the JSON values that begin at one place in both texts and reach over ``at``."""
    before, after = (list(_values(text, start)) for text in (old, new))
    if not before or not after or start + len(before[0][1]) <= at or start + len(after[0][1]) <= at:
        return None
    if _canonical(before[0][0]) == _canonical(after[0][0]):
        return "json"
    if isinstance(before[0][0], list):
        return "tools" if _same_tools(before[0][0], after[0][0]) else None
    return "tools" if _same_tools([value for value, _ in before], [value for value, _ in after]) else None


def _values(text: str, start: int) -> Iterator[tuple[Any, str]]:
    """The JSON values from ``start`` on, one after another with only blanks and commas between, each with its text."""
    decoder = json.JSONDecoder()
    while start < len(text) and text[start] in "[{":
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return
        yield value, text[start:end]
        start = end
        while start < len(text) and text[start] in " \t\r\n,":
            start += 1


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _same_tools(old: Any, new: Any) -> bool:
    if not (isinstance(old, list) and isinstance(new, list) and all(map(_is_tool, old))):
        return False
    return sorted(map(_canonical, old)) == sorted(map(_canonical, new))


def _is_tool(value: Any) -> bool:
    function = value.get("function", value) if isinstance(value, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)
