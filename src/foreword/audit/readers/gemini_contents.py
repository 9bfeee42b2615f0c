"""The body of Gemini's generateContent, as a row of pieces."""

from collections.abc import Iterator, Mapping
from typing import Any

from foreword.audit.readers.pieces import Body
from foreword.audit.request import MESSAGE, SYSTEM, TOOLS, LoggedPiece
from foreword.audit.text_diff import encodable
from foreword.prompt.vendor_forms.blocks import as_json, media_name

ROLES = {"model": "assistant", "function": "tool"}


def is_body(body: Body) -> bool:
    """Whether the contents are Gemini's: one text, or turns of parts."""
    given = body["contents"]
    if isinstance(given, list):
        return all(isinstance(turn, str) or (isinstance(turn, dict) and "parts" in turn) for turn in given)
    return isinstance(given, str) or (isinstance(given, dict) and "parts" in given)


def read(body: Body) -> Iterator[LoggedPiece]:
    """The prompt in the order in which it is read. Names come in two spellings (``systemInstruction``,
    ``system_instruction``), and the options of SDKs may stand in ``config``."""
    config = body.get("config")
    holders = (body, config) if isinstance(config, dict) else (body,)
    yield from _tools(_first(holders, ("tools",)))
    system = _first(holders, ("systemInstruction", "system_instruction"))
    for i, (kind, text) in enumerate(_parts(system)):
        yield LoggedPiece(SYSTEM, kind, "", 0, i, text)
    given = body["contents"]
    for number, turn in enumerate(given if isinstance(given, list) else [given]):
        role = encodable(str(turn.get("role") or "user")) if isinstance(turn, dict) else "user"
        for i, (kind, text) in enumerate(_parts(turn)):
            yield LoggedPiece(MESSAGE, kind, ROLES.get(role, role), number, i, text)


def _first(holders: tuple[Mapping[str, Any], ...], keys: tuple[str, ...]) -> Any:
    return next((holder[key] for key in keys for holder in holders if holder.get(key)), None)


def _tools(tools: Any) -> Iterator[LoggedPiece]:
    """Each declared function is a tool; a tool of the vendor's own (search, code) is one as it stands."""
    number = 0
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        declared = tool.get("functionDeclarations", tool.get("function_declarations"))
        for one in declared if isinstance(declared, list) else [tool]:
            yield LoggedPiece(TOOLS, "tool", "", 0, number, as_json(one if isinstance(one, dict) else {"type": one}))
            number += 1


def _parts(turn: Any) -> Iterator[tuple[str, str]]:
    """(kind, text) of each part of a turn, an instruction, or a text."""
    parts = turn.get("parts", turn) if isinstance(turn, dict) else turn
    for part in parts if isinstance(parts, list) else () if parts is None else [parts]:
        yield _part(part)


def _part(part: Any) -> tuple[str, str]:
    if not isinstance(part, dict):
        return "text", part if isinstance(part, str) else as_json(part)
    if "text" in part:
        text = part["text"] if isinstance(part["text"], str) else as_json(part["text"])
        return ("thinking" if part.get("thought") else "text"), text
    for keys, kind in (
        (("functionCall", "function_call"), "tool_use"),
        (("functionResponse", "function_response"), "tool_result"),
    ):
        found = next((part[key] for key in keys if key in part), None)
        if found is not None:
            return kind, as_json(found)
    media = next((part[key] for key in ("inlineData", "inline_data", "fileData", "file_data") if key in part), None)
    if media is not None:
        told = media if isinstance(media, dict) else {}
        mime = str(told.get("mimeType") or told.get("mime_type") or "file").split("/")[0]
        kind = mime if mime in ("image", "audio") else "file"
        return kind, media_name(kind, media)
    return "part", as_json(part)
