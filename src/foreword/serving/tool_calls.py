"""Tool calls in what a model writes: text in, text and calls out, while it is being written.

Models write calls in one of two forms. Between ``<tool_call>`` and ``</tool_call>`` stands a JSON object with ``name`` and
``arguments`` (Hermes, Qwen and many others); or the whole answer is such an object, or a list of them, with ``arguments`` or
``parameters`` (Llama 3, Mistral). Only the names of tools that were offered count. All else is text, as it was written.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the model makes."""

    name: str
    arguments: dict[str, Any]


class ToolCallReader:
    """Reads one answer. Text that may yet turn out to be a call is held back; blanks between calls are dropped.

    Without names of tools all is text, at once. Without ``parallel`` the first call counts, and others are dropped.
    """

    def __init__(self, names: Collection[str], parallel: bool = True):
        self._names, self._parallel = names, parallel
        self._held = ""
        self._in_tag = False  # what is held stands behind OPEN
        self._blanks = ""  # before that OPEN
        self._begun = False  # something was read that is no blank
        self._whole = False  # the answer begins as JSON does: it may be one call as a whole
        self.called = False

    def feed(self, text: str) -> list[str | Call]:
        """What is certain after the next piece of the answer."""
        if not self._names:
            return [text] if text else []
        self._held += text
        if not self._begun and self._held.strip():
            self._begun = True
            self._whole = self._held.lstrip()[0] in "{["
        out: list[str | Call] = []
        while not self._whole and (pieces := self._read_tag() if self._in_tag else self._read_text()):
            out += pieces
        return [piece for piece in out if piece]

    def finish(self) -> list[str | Call]:
        """What is left at the end of the answer."""
        held, self._held = self._held, ""
        calls = self._calls(held) if self._whole or self._in_tag else None
        if calls is not None:
            return list(calls)
        text = self._blanks + OPEN + held if self._in_tag else held
        return [text] if text and not (self.called and not text.strip()) else []

    def _read_text(self) -> list[str | Call]:
        """Text up to the next tag; without one, all but what may be the beginning of one and the blanks before it."""
        text, tag, rest = self._held.partition(OPEN)
        if tag:
            certain = text.rstrip()
            self._held, self._in_tag, self._blanks = rest, True, text[len(certain) :]
            return [certain]
        kept = next((size for size in range(len(OPEN) - 1, 0, -1) if text.endswith(OPEN[:size])), 0)
        certain = text[: len(text) - kept].rstrip()
        self._held = text[len(certain) :]
        return [certain] if certain else []

    def _read_tag(self) -> list[str | Call]:
        """The calls in a tag that is complete."""
        inside, tag, rest = self._held.partition(CLOSE)
        if not tag:
            return []
        self._held, self._in_tag = rest, False
        calls = self._calls(inside)
        return [self._blanks + OPEN + inside + CLOSE] if calls is None else list(calls)

    def _calls(self, text: str) -> list[Call] | None:
        """The calls that a text is, if it is nothing else."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        calls = [self._call(item) for item in (value if isinstance(value, list) else [value])]
        found = [call for call in calls if call is not None]
        if not found or len(found) < len(calls):
            return None
        if not self._parallel:
            found = [] if self.called else found[:1]
        self.called = True
        return found

    def _call(self, value: Any) -> Call | None:
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in self._names:
            return None
        arguments = value.get("arguments", value.get("parameters", {}))
        return Call(name, arguments) if isinstance(arguments, dict) else None
