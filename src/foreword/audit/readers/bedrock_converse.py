"""The body of Bedrock's Converse, as a row of pieces; a ``cachePoint`` is a mark on the block before it."""

from collections.abc import Iterator, Mapping
from typing import Any

from foreword.audit.readers.pieces import Body
from foreword.audit.request import MESSAGE, SYSTEM, TOOLS, LoggedPiece
from foreword.audit.text_diff import encodable
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.blocks import as_json, media_name

OWN_FIELDS = ("toolConfig", "inferenceConfig", "additionalModelRequestFields")
BLOCKS = ("text", "toolUse", "toolResult", "cachePoint", "image", "document", "video", "reasoningContent", "guardContent")


def is_body(body: Body) -> bool:
    """Whether the messages are Converse's: its fields beside them, or blocks named by their only key instead of a type."""
    if any(field in body for field in OWN_FIELDS):
        return True
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list) and content:
            block = content[0]
            return isinstance(block, dict) and "type" not in block and any(name in block for name in BLOCKS)
    return False


def read(body: Body) -> Iterator[LoggedPiece]:
    """The prompt in the order in which it is read."""
    config = body.get("toolConfig")
    tools = config.get("tools") if isinstance(config, dict) else None
    rows = [LoggedPiece(TOOLS, "tool", "", 0, i, text, mark) for i, (_, text, mark) in enumerate(_marked(tools, _tool))]
    yield from rows
    for i, (kind, text, mark) in enumerate(_marked(body.get("system"), _block)):
        yield LoggedPiece(SYSTEM, kind, "", 0, i, text, mark)
    for number, message in enumerate(body["messages"]):
        role = encodable(str(message.get("role", "")))
        for i, (kind, text, mark) in enumerate(_marked(message.get("content"), _block)):
            yield LoggedPiece(MESSAGE, kind, role, number, i, text, mark)


def _marked(blocks: Any, read_one: Any) -> list[tuple[str, str, float | None]]:
    """(kind, text, lifetime of the mark at its end) of each block."""
    rows: list[tuple[str, str, float | None]] = []
    for block in blocks if isinstance(blocks, list) else () if blocks is None else [blocks]:
        point = block.get("cachePoint") if isinstance(block, dict) else None
        if isinstance(point, dict):
            if rows:
                rows[-1] = (*rows[-1][:2], ttl.seconds(point.get("ttl")) or ttl.ANTHROPIC[ttl.ANTHROPIC_DEFAULT])
            continue
        rows.append((*read_one(block), None))
    return rows


def _tool(tool: Any) -> tuple[str, str]:
    """A tool as the vendor of the model has it: name, description, schema."""
    spec = tool.get("toolSpec") if isinstance(tool, dict) else None
    if not isinstance(spec, dict):
        return "tool", as_json(tool if isinstance(tool, dict) else {"type": tool})
    schema = spec.get("inputSchema")
    inner = schema.get("json", schema) if isinstance(schema, dict) else schema
    return "tool", as_json({"name": spec.get("name"), "description": spec.get("description"), "input_schema": inner})


def _block(block: Any) -> tuple[str, str]:
    if not isinstance(block, Mapping):
        return "text", block if isinstance(block, str) else as_json(block)
    if "text" in block:
        return "text", block["text"] if isinstance(block["text"], str) else as_json(block["text"])
    if isinstance(block.get("toolUse"), dict):
        use = block["toolUse"]
        return "tool_use", as_json({"id": use.get("toolUseId"), "name": use.get("name"), "input": use.get("input")})
    if isinstance(block.get("toolResult"), dict):
        result = block["toolResult"]
        content = result.get("content")
        texts = (_block(inner)[1] for inner in (content if isinstance(content, list) else [content]))
        return "tool_result", "\n".join([str(result.get("toolUseId", "")), *texts])
    if "reasoningContent" in block:
        return "thinking", as_json(block["reasoningContent"])
    for name, kind in (("image", "image"), ("document", "file"), ("video", "file")):
        if name in block:
            return kind, media_name(kind, block[name])
    return "block", as_json(block)
