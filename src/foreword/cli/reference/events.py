"""The page of the engine's events."""

import inspect
from dataclasses import fields
from typing import get_args

from foreword import events
from foreword.cli.reference.tables import table

HEAD = """\
<!-- Written by `make reference` from foreword/events.py; a test compares it. Change the docstrings there. -->
# Events

What an engine tells whoever subscribes (`engine.subscribe(sink)`, `EventSink`): frozen records, told in the engine's thread,
in the order in which things happen. What a sink raises ends nothing; it is logged once.

"""


def events_page() -> str:
    """docs/reference/events.md: every event with its fields."""
    parts = [HEAD]
    for kind in get_args(events.Event):
        text = (inspect.getdoc(kind) or "").replace("``", "`")
        rows = [(f"`{each.name}`", f"`{_type(each.type)}`") for each in fields(kind)]
        told = table(("field", "type"), rows) if rows else "It has no fields.\n"
        parts.append(f"## {kind.__name__}\n\n{_definitions_as_list(text)}\n\n{told}\n")
    return "".join(parts).rstrip() + "\n"


def _type(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _definitions_as_list(text: str) -> str:
    """A docstring whose fields stand on a line of their own, with their meaning indented below, as a list."""
    lines: list[str] = []
    for line, below in zip(text.splitlines(), [*text.splitlines()[1:], ""], strict=True):
        if not line.startswith("    "):
            lines.append(f"- `{line.replace(', ', '`, `')}`:" if below.startswith("    ") else line)
        elif lines[-1].endswith("`:"):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(f"  {line.strip()}")
    return "\n".join(lines)
