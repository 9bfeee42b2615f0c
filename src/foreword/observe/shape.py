"""What a prompt was made of: its pieces with their places, and what the client wrote in each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foreword.prompt.segments import Piece, SegmentedPrompt, label_at, piece_at


@dataclass(frozen=True, slots=True)
class PromptShape:
    """The pieces of a rendered conversation, and the text or canonical JSON of each tool and message.

    left_out
        What the client sent at its head and was left out, in words.
    moved
        What it sent there and was moved into the first turn.
    """

    pieces: tuple[Piece, ...]
    contents: Mapping[tuple[str, int], str]
    left_out: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()

    def piece_at(self, position: int) -> Piece | None:
        """The piece that the token at ``position`` belongs to; None past the end of the prompt."""
        return piece_at(self.pieces, position)

    def label_at(self, position: int) -> str:
        """Where the token at ``position`` stands, for people: ``system, block 2``."""
        return label_at(self.pieces, position)


def shape_of(
    prompt: SegmentedPrompt, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> PromptShape:
    """The shape of a conversation that was rendered and segmented."""
    contents = {("tool", index): _text(tool) for index, tool in enumerate(tools or ())}
    contents |= {("message", index): _text(message.get("content")) for index, message in enumerate(messages)}
    return PromptShape(prompt.pieces, contents)


def same_content(new: PromptShape, old: PromptShape | None, position: int, answer: str) -> bool:
    """Whether what stands at a position is a piece that the client wrote alike in an older prompt, or got as its answer.

    ``answer``: the text that was generated after the older prompt.
    """
    piece = new.piece_at(position)
    if piece is None or piece.kind != "message":
        return False
    key = (piece.kind, piece.index)
    content = new.contents.get(key, "").strip()
    if old is not None and key in old.contents:
        return content == old.contents[key].strip()
    return piece.name == "assistant" and bool(content) and content in answer


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, sort_keys=True, default=str)
