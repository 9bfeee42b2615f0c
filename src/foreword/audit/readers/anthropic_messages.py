"""The body of Anthropic's messages API, as a row of pieces."""

from collections.abc import Iterator

from foreword.audit.readers.pieces import Body, marked_blocks, message_pieces, tool_pieces
from foreword.audit.request import SYSTEM, LoggedPiece
from foreword.audit.text_diff import encodable
from foreword.prompt.vendor_forms import ttl


def read(body: Body) -> Iterator[LoggedPiece]:
    """The prompt in the order in which it is read; the mark of the body itself stands at the end."""
    yield from tool_pieces(body)
    for i, (block, mark) in enumerate(marked_blocks(body.get("system"))):
        yield LoggedPiece(SYSTEM, block.kind, "", 0, i, block.text, mark)
    rows = [
        piece
        for number, message in enumerate(body["messages"])
        for piece in message_pieces(encodable(str(message.get("role", ""))), number, message.get("content"))
    ]
    automatic = ttl.of_mark(body)
    if automatic is not None and rows:
        rows[-1] = rows[-1]._replace(mark=automatic)
    yield from rows
