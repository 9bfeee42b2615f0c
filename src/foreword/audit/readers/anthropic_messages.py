"""The body of Anthropic's messages API, as a row of pieces."""

from collections.abc import Iterator
from typing import Any

from foreword.audit.readers.pieces import Body, marked_blocks, message_pieces, tool_pieces
from foreword.audit.request import MEDIA, SETTINGS, SYSTEM, LoggedPiece
from foreword.audit.text_diff import encodable
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.blocks import as_json


def read(body: Body) -> Iterator[LoggedPiece]:
    """The prompt in the order in which it is read; the mark of the body itself stands at the end."""
    yield from tool_pieces(body)
    for i, (block, mark) in enumerate(marked_blocks(body.get("system"))):
        yield LoggedPiece(SYSTEM, block.kind, "", 0, i, block.text, mark)
    yield from _settings(body)
    rows = [
        piece
        for number, message in enumerate(body["messages"])
        for piece in message_pieces(encodable(str(message.get("role", ""))), number, message.get("content"))
    ]
    automatic = ttl.of_mark(body)
    if automatic is not None and rows:
        rows[-1] = rows[-1]._replace(mark=automatic)
    yield from rows


def _settings(body: Body) -> Iterator[LoggedPiece]:
    """What the vendor computes messages anew for when it changes, tools and system staying cached; the defaults are none.

    Source: the table "What invalidates the cache" of the vendor's page on prompt caching.
    """
    for name in ("thinking", "tool_choice"):
        value = body.get(name)
        if isinstance(value, dict) and value.get("type") not in ("disabled", "auto"):
            yield LoggedPiece(SETTINGS, name, "", 0, 0, as_json(value))
    if body.get("speed") not in (None, "standard"):
        yield LoggedPiece(SETTINGS, "speed", "", 0, 0, as_json(body["speed"]))
    if any(_has_media(message.get("content")) for message in body["messages"]):
        yield LoggedPiece(SETTINGS, "images", "", 0, 0, "images")


def _has_media(content: Any) -> bool:
    blocks = content if isinstance(content, list) else ()
    return any(isinstance(block, dict) and str(block.get("type")) in MEDIA for block in blocks)
