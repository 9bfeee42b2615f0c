"""Content blocks in any vendor's form: what kind each is, and what the model reads of it. Nothing in a block is an error."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from foreword.prompt.chat import Block

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_PLAIN = {"type", "text"}
_IMAGES = ("source", "image_url", "file_id")
_FILES = ("source", "file", "video_url", "file_data", "file_id", "file_url")
_SOUNDS = ("input_audio", "audio_url", "data")
"""Fields of an image's, a file's and a sound's block that hold it, the first that is there and not null."""
TEXT_TYPES = ("text", "input_text", "output_text")


def as_json(value: Any) -> str:
    """Compact JSON with the keys in the order in which they were sent."""
    return _ENCODER.encode(value)


def media_name(kind: str, value: Any) -> str:
    """A name for an image or file: the same bytes give the same name, and the bytes are not kept."""
    data = as_json(value).encode("utf-8", "surrogatepass")
    return f"{kind} {hashlib.blake2b(data, digest_size=16).hexdigest()}"


def read_blocks(content: Any) -> tuple[Block, ...]:
    """The blocks of a message's or a system prompt's content: a text is one block, no content (None) is none."""
    if content is None:
        return ()
    if not isinstance(content, list | tuple):
        return (Block("text", content if isinstance(content, str) else as_json(content)),)
    return tuple(map(read_block, content))


def read_block(block: Any) -> Block:
    """A block; what is no JSON object is text."""
    if not isinstance(block, Mapping):
        return Block("text", block if isinstance(block, str) else as_json(block))
    kind, text = _kind_and_text(block)
    return Block(kind, text, None if block.keys() == _PLAIN and kind == block["type"] else block)


def write_block(block: Block) -> dict[str, Any]:
    """A block as the vendor has it from whom it came, or a plain text."""
    return {"type": "text", "text": block.text} if block.source is None else dict(block.source)


def _first(block: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((block[name] for name in names if block.get(name) is not None), None)


def _kind_and_text(block: Mapping[str, Any]) -> tuple[str, str]:
    kind = str(block.get("type", "text"))
    if kind in (*TEXT_TYPES, "refusal"):
        text = block.get("text", block.get("refusal", ""))
        return "text", text if isinstance(text, str) else as_json(text)
    if kind in ("image", "image_url", "input_image"):
        return "image", media_name("image", _first(block, _IMAGES))
    if kind in ("document", "file", "input_file", "video_url"):
        return "file", media_name("file", _first(block, _FILES))
    if kind in ("input_audio", "audio", "audio_url"):
        return "audio", media_name("audio", _first(block, _SOUNDS))
    if kind == "tool_use":
        return "tool_use", as_json({"id": block.get("id"), "name": block.get("name"), "input": block.get("input")})
    if kind == "tool_result":
        texts = (inner.text for inner in read_blocks(block.get("content")))
        return "tool_result", "\n".join([str(block.get("tool_use_id", "")), *texts])
    if kind in ("thinking", "redacted_thinking", "reasoning"):
        return "thinking", str(block.get("thinking", block.get("data", as_json(block))))
    return kind, as_json({key: value for key, value in block.items() if key != "cache_control"})
