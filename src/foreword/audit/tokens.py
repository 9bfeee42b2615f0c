"""From pieces to tokens, in one of three ways; a report says which.

- ``ByteTokens``: without a tokenizer a token is four bytes of UTF-8, the usual rule of thumb. Exact where prefixes part
  (to four bytes), approximate in counts.
- ``PieceTokens``: a real tokenizer, each piece by itself, without the template that hosted APIs do not publish.
- ``TemplateTokens``: a real tokenizer and chat template; the prompt is rendered as the model gets it.

Tokens are packed as everywhere in Foreword (``foreword.tokens``), so that prefixes compare as bytes.
"""

import bisect
import json
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from foreword.audit.request import MEDIA, MESSAGE, SETTINGS, SYSTEM, TOOLS, LoggedPiece, LoggedRequest
from foreword.audit.text_diff import encodable
from foreword.errors import PromptError
from foreword.prompt.chat import Block, Message, Tool, ToolCall, text_blocks
from foreword.prompt.segments import PieceKind, segment
from foreword.prompt.template import PromptTemplate
from foreword.prompt.vendor_forms.openai import write_message
from foreword.prompt.vendor_forms.tools import as_function, read_call
from foreword.tokens import TOKEN_BYTES, pack_tokens

MEDIA_TOKENS = 1_024
"""Tokens counted for an image or a file: what it costs cannot be known without decoding it."""
Place = tuple[PieceKind, int, int]
CACHED_TEXT_BYTES = 64 * 2**20
HELD_BYTES = 2 * 2**20
PIECE_BYTES = 300
"""About what a piece that is held takes beside its text and its tokens."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt's packed tokens, and where its pieces end.

    ``ends`` are token positions, ascending; ``order`` says which piece of the request each of them belongs to, because a
    chat template may write the tools behind the system text.
    """

    packed: bytes
    ends: tuple[int, ...]
    order: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.packed) // TOKEN_BYTES

    def piece_at(self, position: int) -> tuple[int, int]:
        """The piece in which a token position lies, and the tokens before it in that piece; past the end: the last."""
        rank = min(bisect.bisect_right(self.ends, position), len(self.ends) - 1)
        return self.order[rank], position - (self.ends[rank - 1] if rank else 0)

    def start_of(self, piece: int) -> int:
        """Token position at which a piece begins."""
        rank = self.order.index(piece)
        return self.ends[rank - 1] if rank else 0

    def end_of(self, piece: int) -> int:
        """Token position at which a piece ends."""
        return self.ends[self.order.index(piece)]


class Tokenizing(ABC):
    """How prompts become tokens."""

    description: str
    """For the report: how tokens were counted."""

    @abstractmethod
    def encode(self, request: LoggedRequest) -> Tokens:
        """All tokens of a request's prompt."""


class PerPiece(Tokenizing):
    """Each piece by itself, behind one token that says what it is; pieces seen lately are not encoded again."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, str, str, bool], bytes] = {}
        self._pieces: dict[LoggedPiece, tuple[bytes, int]] = {}  # packed, and how many tokens
        self._held = 0

    def encode(self, request: LoggedRequest) -> Tokens:
        parts: list[bytes] = []
        ends: list[int] = []
        position = 0
        for piece in request.pieces:
            packed, count = self._pieces.get(piece) or self._new(piece)
            parts.append(packed)
            position += count
            ends.append(position)
        return Tokens(b"".join(parts), tuple(ends), tuple(range(len(ends))))

    def _new(self, piece: LoggedPiece) -> tuple[bytes, int]:
        """A piece's tokens, kept for the next time."""
        packed = self._head(piece) + (self._media(piece) if piece.kind in MEDIA else self.text(piece.text))
        self._held += 2 * len(packed) + PIECE_BYTES  # its text and its tokens
        if self._held > HELD_BYTES:
            self._pieces.clear()
            self._held = 2 * len(packed) + PIECE_BYTES
        told = self._pieces[piece] = packed, len(packed) // TOKEN_BYTES
        return told

    @abstractmethod
    def text(self, text: str) -> bytes:
        """The packed tokens of a text."""

    def _head(self, piece: LoggedPiece) -> bytes:
        """One token that stands for the template's words around a piece."""
        key = piece.section, piece.role if piece.section == MESSAGE else "", piece.kind, piece.block == 0
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = zlib.crc32("\n".join(map(str, key)).encode("utf-8", "surrogatepass")).to_bytes(
                TOKEN_BYTES, "little"
            )
        return head

    def _media(self, piece: LoggedPiece) -> bytes:
        return zlib.crc32(piece.text.encode()).to_bytes(TOKEN_BYTES, "little") * MEDIA_TOKENS


class ByteTokens(PerPiece):
    """A token is four bytes of UTF-8; a piece's last token is filled up with zeros."""

    description = "about: 1 token = 4 bytes of UTF-8 (no tokenizer was given)"

    def text(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        return data + bytes(-len(data) % TOKEN_BYTES)


class PieceTokens(PerPiece):
    """A real tokenizer, piece by piece; texts seen lately are not tokenized again."""

    description = "the given tokenizer, without a chat template"

    def __init__(self, encode: Callable[[str], list[int]]):
        super().__init__()
        self._encode = encode
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def text(self, text: str) -> bytes:
        packed = self._known.get(text)
        if packed is not None:
            self._known.move_to_end(text)
            return packed
        packed = pack_tokens(self._encode(encodable(text)))
        self._known[text] = packed
        self._size += len(text) + len(packed)
        while self._size > CACHED_TEXT_BYTES:
            old, tokens = self._known.popitem(last=False)
            self._size -= len(old) + len(tokens)
        return packed


class TemplateTokens(Tokenizing):
    """The whole prompt as the model's chat template renders it.

    What the template refuses is counted piece by piece instead (``refused`` counts such requests).
    """

    description = "the given tokenizer and chat template"

    def __init__(self, template: PromptTemplate):
        self.template = template
        self.refused = 0
        self._pieces = PieceTokens(template.encode)

    def encode(self, request: LoggedRequest) -> Tokens:
        tools, messages, places = as_messages(request.pieces)
        now = datetime.fromtimestamp(request.time or 0, UTC)
        try:
            prompt = segment(self.template, [write_message(message) for message in messages], tools or None, now=now)
        except PromptError:
            self.refused += 1
            return self._pieces.encode(request)
        known: dict[Place, int] = {(piece.kind, piece.index, piece.block): piece.end for piece in prompt.pieces}
        ends: list[int] = []
        for place in places:  # what the template left out ends where the piece before it does
            ends.append(known.get(place, ends[-1] if ends else 0))
        order = sorted(range(len(ends)), key=ends.__getitem__)
        last = len(prompt.token_ids)
        return Tokens(pack_tokens(prompt.token_ids), (*(ends[i] for i in order[:-1]), last), tuple(order))


@dataclass
class _Draft:
    """A message that is being put together of pieces."""

    role: str
    thought: str | None = None
    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str | None = None
    name: str | None = None

    def __len__(self) -> int:
        """Its blocks so far."""
        return (self.thought is not None) + len(self.texts) + len(self.calls)

    def message(self) -> Message:
        thought = () if self.thought is None else (Block("thinking", self.thought),)
        return Message(self.role, (*thought, *text_blocks(*self.texts)), tuple(self.calls), self.call_id, self.name)


def as_messages(pieces: tuple[LoggedPiece, ...]) -> tuple[list[Tool], list[Message], list[Place]]:
    """Pieces as tools and messages, and for each piece the (kind, index, block) that segments give it.

    Media are written by their names; a message's blocks come as thinking, texts, calls. A tool's result that stands in a
    user's message (Anthropic) is a message of its own, as chat templates want it.
    """
    tools: list[Tool] = []
    drafts: list[_Draft] = []
    places: list[Place] = []
    names: dict[str, str] = {}
    current: tuple[str, int, str] | None = None
    for piece in pieces:
        if piece.section == SETTINGS:
            places.append(("message", -1, 0))
            continue
        if piece.section == TOOLS:
            places.append(("tool", len(tools), 0))
            if piece.kind == "tool":
                tools.append(_function(json.loads(piece.text)))
            continue
        role = "system" if piece.section == SYSTEM else "tool" if piece.kind == "tool_result" else piece.role
        nested = role == "tool" != piece.role
        if nested or (piece.section, piece.message, role) != current:
            current = piece.section, piece.message, role
            drafts.append(_Draft(role))
        draft = drafts[-1]
        if piece.kind == "tool_use":
            call = read_call(json.loads(piece.text))
            names[call.call_id] = call.name
            draft.calls.append(call)
        elif nested:
            draft.call_id, _, text = piece.text.partition("\n")
            draft.name = names.get(draft.call_id)
            draft.texts = [text]
        elif piece.kind == "thinking":
            draft.thought = piece.text
        else:
            draft.texts.append(piece.text)
        places.append(("message", len(drafts) - 1, len(draft) - 1))
    return tools, [draft.message() for draft in drafts], places


def _function(tool: dict[str, Any]) -> Tool:
    """A logged tool as a function. ``strict`` bounds the answer and is no part of a hosted prompt; a vendor's own tool may
    have neither name nor parameters, which templates ask for."""
    if "function" in tool or "input_schema" in tool:
        return as_function(tool)
    told = {key: value for key, value in tool.items() if key != "strict" and (value or key != "description")}
    return as_function({"name": None, "parameters": None, **told})
