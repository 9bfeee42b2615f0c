"""The body of OpenAI's chat completions API, as a row of pieces."""

from collections.abc import Iterator

from foreword.audit.readers.pieces import Body, marked_blocks, message_pieces, schema_pieces, tool_pieces
from foreword.audit.request import MESSAGE, SYSTEM, LoggedPiece
from foreword.audit.text_diff import encodable
from foreword.prompt.chat import SYSTEM_ROLES
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.blocks import as_json


def read(body: Body) -> Iterator[LoggedPiece]:
    """The prompt in the order in which it is read; a mark on a message stands at its end."""
    yield from tool_pieces(body)
    yield from schema_pieces(body.get("response_format"))
    systems, number = 0, 0
    for message in body["messages"]:
        role = encodable(str(message.get("role", "")))
        if role in SYSTEM_ROLES and number == 0:
            for block, mark in marked_blocks(message.get("content")):
                yield LoggedPiece(SYSTEM, block.kind, "", 0, systems, block.text, mark or ttl.of_mark(message))
                systems += 1
            continue
        rows = list(message_pieces(role, number, message.get("content")))
        calls = message.get("tool_calls")
        rows += [
            LoggedPiece(MESSAGE, "tool_use", role, number, len(rows) + i, as_json(call))
            for i, call in enumerate(calls if isinstance(calls, list) else ())
        ]
        if rows and rows[-1].mark is None:
            rows[-1] = rows[-1]._replace(mark=ttl.of_mark(message))
        yield from rows
        number += 1
