"""What the readers of bodies share: tools, output schemas and contents as rows of pieces."""

from collections.abc import Iterator, Mapping
from typing import Any

from foreword.audit.request import MESSAGE, TOOLS, LoggedPiece
from foreword.prompt.chat import Block
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.blocks import as_json, read_blocks

Body = Mapping[str, Any]


def marked_blocks(content: Any) -> Iterator[tuple[Block, float | None]]:
    """The blocks of a content, each with the lifetime of the mark that stands on it."""
    for block in read_blocks(content):
        yield block, None if block.source is None else ttl.of_mark(block.source)


def tool_pieces(body: Body) -> Iterator[LoggedPiece]:
    """The tools, as they were sent but for their marks; those that a search loads later are not in the prompt."""
    tools = body.get("tools")
    for i, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and not tool.get("defer_loading"):
            text = as_json({key: value for key, value in tool.items() if key != "cache_control"})
            yield LoggedPiece(TOOLS, "tool", "", 0, i, text, ttl.of_mark(tool))


def schema_pieces(schema: Any) -> Iterator[LoggedPiece]:
    """The schema that an answer has to follow; none for any other format."""
    if isinstance(schema, dict) and schema.get("type") == "json_schema":
        yield LoggedPiece(TOOLS, "schema", "", 0, 0, as_json(schema))


def message_pieces(role: str, number: int, content: Any) -> Iterator[LoggedPiece]:
    """The blocks of a message; the texts of a tool are its results."""
    for i, (block, mark) in enumerate(marked_blocks(content)):
        kind = "tool_result" if role == "tool" and block.kind == "text" else block.kind
        yield LoggedPiece(MESSAGE, kind, role, number, i, block.text, mark)
