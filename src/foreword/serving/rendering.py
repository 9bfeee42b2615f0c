"""From a neutral prompt to token ids, and where in them marks and the public part end. It takes time."""

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile

from foreword.cache import Mark
from foreword.engine.model_text import ModelText
from foreword.errors import ModelError, PromptError
from foreword.observe import PromptShape, shape_of
from foreword.prompt.chat import SYSTEM_ROLES, ChatPrompt, MarkAt, PromptForm
from foreword.prompt.segments import SegmentedPrompt
from foreword.prompt.tokenizer import SHORT
from foreword.prompt.vendor_forms.openai import write_message
from foreword.prompt.written import segment_conversation, write_conversation
from foreword.tokens import TOKEN_BYTES, pack_tokens


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as the engine takes it.

    tokens
        Packed.
    text
        None where the client sent token ids.
    marks
        At token positions, in the order of the request.
    public_tokens
        Leading tokens that are tools and system prompt.
    """

    tokens: bytes
    text: str | None
    marks: tuple[Mark, ...] = ()
    public_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.tokens) // TOKEN_BYTES


class PromptRenderer:
    """Prompts to tokens, by one model's tokenizer and chat template."""

    def __init__(self, text: ModelText, model_name: str):
        self._text = text
        self._template = text.template
        if text.template is not None:
            text.template.abilities()  # tried out at the start, not with the first request
        self._model_name = model_name

    def render(self, prompt: PromptForm, find_public_part: bool = False) -> RenderedPrompt:
        """Render and tokenize. PromptError for a prompt that the template or the tokenizer does not take."""
        try:
            if isinstance(prompt, ChatPrompt):
                return self._render_conversation(prompt, find_public_part)
            if isinstance(prompt, str):
                if not prompt:
                    raise PromptError("The prompt is empty; it needs at least one token.")
                return RenderedPrompt(self._text.tokenizer.tokens(prompt, add_special_tokens=True), prompt)
        except UnicodeEncodeError as error:
            raise PromptError(f"The prompt is not valid Unicode: {error.reason} at character {error.start}.") from None
        self._text.tokenizer.check_count(len(prompt))
        return RenderedPrompt(pack_tokens(prompt), None)

    def tokens_of(self, text: str) -> bytes:
        """Packed tokens of a text that is no prompt. PromptError for invalid Unicode, PromptTooLong for very long ones."""
        try:
            return self._text.tokenizer.tokens(text, add_special_tokens=False)
        except UnicodeEncodeError as error:
            raise PromptError(f"It is not valid Unicode: {error.reason} at character {error.start}.") from None

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""
        return self._text.tokenizer.decode(token_ids)

    def shape(self, prompt: PromptForm) -> PromptShape | None:
        """What a prompt is made of; None if it is no conversation."""
        if not isinstance(prompt, ChatPrompt) or self._template is None:
            return None
        found = segment_conversation(self._template, prompt, datetime.now())
        shape = shape_of(found, [write_message(message) for message in prompt.messages], prompt.tools)
        return replace(shape, left_out=prompt.left_out, moved=prompt.moved)

    def _render_conversation(self, conversation: ChatPrompt, find_public_part: bool) -> RenderedPrompt:
        if self._template is None:
            raise ModelError(
                f"The model {self._model_name!r} has no chat template; use completions with a prompt written out, or "
                f"add chat_template.jinja to the model's directory."
            )
        now = datetime.now()
        if not conversation.marks and not find_public_part:
            text = write_conversation(self._template, conversation, now)
            return RenderedPrompt(self._text.tokenizer.tokens(text, add_special_tokens=False), text)
        found = segment_conversation(self._template, conversation, now)
        marks = tuple(mark for at in conversation.marks if (mark := _mark(found, at)).position > 0)
        return RenderedPrompt(
            pack_tokens(found.token_ids), found.text, marks, _public_tokens(found) if find_public_part else 0
        )


def is_short(prompt: PromptForm) -> bool:
    """Whether another thread is not worth the way. Tools and marks take longer; a message counts as 100 characters more."""
    if not isinstance(prompt, ChatPrompt):
        return not isinstance(prompt, str) or len(prompt) <= SHORT
    if prompt.marks or prompt.tools or any(message.tool_calls for message in prompt.messages):
        return False
    return sum(100 + sum(map(len, message.texts)) for message in prompt.messages) <= SHORT


def _mark(found: SegmentedPrompt, mark: MarkAt) -> Mark:
    since = 0 if mark.looks_back_to is None else _position(found, *mark.looks_back_to)
    return Mark(_position(found, mark.message, mark.block), mark.ttl_seconds, since)


def _position(found: SegmentedPrompt, message: int | None, block: int) -> int:
    """The end of a part; of one that became no tokens of its own, that of what stands before it."""
    if message is None:
        return found.end_of_tool(block)
    parts = [(piece.index, piece.block, piece.end) for piece in found.pieces if piece.kind == "message"]
    at = [end for index, own, end in parts if (index, own) == (message, block)]
    return max(at or [end for index, own, end in parts if (index, own) < (message, block)], default=0)


def _public_tokens(found: SegmentedPrompt) -> int:
    """Tokens up to the end of the last tool or system block before anything else."""
    public = takewhile(lambda piece: piece.kind == "tool" or piece.name in SYSTEM_ROLES, found.pieces)
    return max((piece.end for piece in public), default=0)
