"""The body of OpenAI's responses API, as a row of pieces."""

from collections.abc import Iterator

from foreword.audit.readers.pieces import Body, marked_blocks, message_pieces, schema_pieces, tool_pieces
from foreword.audit.request import MESSAGE, SYSTEM, LoggedPiece
from foreword.audit.text_diff import encodable
from foreword.prompt.chat import SYSTEM_ROLES
from foreword.prompt.vendor_forms.blocks import as_json, read_block


def read(body: Body) -> Iterator[LoggedPiece]:
    """The prompt in the order in which it is read: instructions go before the input."""
    yield from tool_pieces(body)
    text = body.get("text")
    yield from schema_pieces(text.get("format") if isinstance(text, dict) else None)
    systems, number = 0, 0
    if body.get("instructions"):
        yield LoggedPiece(SYSTEM, "text", "", 0, 0, str(body["instructions"]))
        systems = 1
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for item in items:
        role = encodable(str(item.get("role", "")))
        if role in SYSTEM_ROLES and number == 0:
            for block, mark in marked_blocks(item.get("content")):
                yield LoggedPiece(SYSTEM, block.kind, "", 0, systems, block.text, mark)
                systems += 1
            continue
        yield from message_pieces(role, number, item["content"]) if "content" in item else _item(item, number)
        number += 1


def _item(item: Body, number: int) -> Iterator[LoggedPiece]:
    """An item of a responses input that is no message: a call, its output, or reasoning."""
    kind = str(item.get("type", ""))
    if kind == "input_image":
        yield LoggedPiece(MESSAGE, "image", "user", number, 0, read_block(item).text)
    elif kind == "function_call_output":
        yield from message_pieces("tool", number, item.get("output"))
    else:
        name = {"function_call": "tool_use", "reasoning": "thinking"}.get(kind, kind)
        yield LoggedPiece(MESSAGE, name, "assistant", number, 0, as_json(item))
