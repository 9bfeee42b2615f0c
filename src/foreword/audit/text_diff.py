"""Comparing texts: where they part, where they meet again, and forms in which differences do not count."""

import json
from collections import OrderedDict
from typing import Any

from foreword.prompt.texts import common_prefix, common_suffix

FORMS_KEPT_CHARS = 16 * 2**20


def encodable(text: str) -> str:
    """A text that can be written as UTF-8: halves of surrogate pairs, which JSON can hold, become question marks."""
    return text.encode("utf-8", "replace").decode()


def parts(one: str, two: str) -> tuple[int, int]:
    """(head, tail): characters in common at the beginning and at the end, cut back to whole words."""
    prefix = common_prefix(one, two)
    head = len(_whole_words(one[:prefix]))
    tail = common_suffix(one, two, prefix)
    while tail and not one[len(one) - tail].isspace():
        tail -= 1
    return head, tail


def shared_head(one: str, two: str) -> str:
    """The whole words that two heads begin with in common."""
    return one if one == two else _whole_words(one[: common_prefix(one, two)])


def shared_tail(one: str, two: str) -> str:
    """The whole words that two tails end with in common; tails begin with white space."""
    return shared_head(one[::-1], two[::-1])[::-1] if one != two else one


def _whole_words(text: str) -> str:
    end = len(text)
    while end and not text[end - 1].isspace():
        end -= 1
    return text[:end]


def without_spacing(text: str) -> str:
    """A text with every run of white space as one space, and JSON without any."""
    if text[:1] in "{[":
        try:
            return json.dumps(_opened(json.loads(text)), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError):
            pass
    return " ".join(text.split())


def without_order(text: str, sets: frozenset[str] = frozenset()) -> str | None:
    """A text with the keys of all JSON in it sorted, also of JSON objects in the midst of words; None if there is none.

    ``sets``: keys under which a list of texts is a set, whose order means nothing either.
    """
    if "{" not in text:
        return None
    decoder, out, at, found = json.JSONDecoder(), [], 0, False
    while (start := text.find("{", at)) >= 0:
        out.append(text[at:start])
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            out.append("{")
            at = start + 1
            continue
        found = True
        out.append(json.dumps(_plain(_opened(value), sets), ensure_ascii=False, sort_keys=True))
    return "".join([*out, text[at:]]) if found else None


def _plain(value: Any, sets: frozenset[str]) -> Any:
    """JSON with each number in one form (2000.0 and 2000 are the same) and each set in one order."""
    if isinstance(value, dict):
        return {key: _sorted(_plain(item, sets)) if key in sets else _plain(item, sets) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, sets) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


def _opened(value: Any) -> Any:
    """JSON in which texts that are JSON objects themselves are opened (a call's arguments)."""
    if isinstance(value, dict):
        return {key: _opened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if isinstance(value, str) and value[:1] == "{":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


class FirstForm:
    """Of texts that mean the same, the one that was seen first. Bounded: the meanings used least lately go."""

    def __init__(self) -> None:
        self._forms: OrderedDict[int, str] = OrderedDict()
        self.chars = 0  # of all forms held

    def of(self, meaning: str, text: str) -> str:
        """The first text that came with this meaning; from now on ``text`` if there was none."""
        key = hash(meaning)
        first = self._forms.get(key)
        if first is not None:
            self._forms.move_to_end(key)
            return first
        self._forms[key] = text
        self.chars += len(text)
        while self.chars > FORMS_KEPT_CHARS and len(self._forms) > 1:
            _, gone = self._forms.popitem(last=False)
            self.chars -= len(gone)
        return text
