"""Tokens back to text, as they come, the texts at which a generation stops, and a model's chat template."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import HubTokenizer


class TextStream:
    """The text of one sequence. Bytes that are not yet a whole character are held back.

    A text that may be the beginning of a stop text is not shown before that is settled.
    """

    def __init__(self, tokenizer: Any, skip_special_tokens: bool, stop: Sequence[str], keep_stop: bool):
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=skip_special_tokens)
        self._stop = tuple(stop)
        self._keep_stop = keep_stop
        self._hold = max((len(text) for text in self._stop), default=1) - 1
        self._text = ""
        self._finished = False

    @property
    def text(self) -> str:
        """What may be shown."""
        return self._text if self._finished or not self._hold else self._text[: -self._hold]

    def add(self, token: int, may_stop: bool) -> str | None:
        """Append a token; returns the stop text that it completed, if any."""
        piece = self._stream.step(self._tokenizer, token)
        if not piece:
            return None
        before = len(self._text)
        self._text += piece
        return self._find_stop(before) if may_stop else None

    def finish(self) -> None:
        """No more tokens: show everything."""
        self._finished = True

    def _find_stop(self, before: int) -> str | None:
        found = [
            (place, stop) for stop in self._stop if (place := self._text.find(stop, max(0, before - len(stop) + 1))) >= 0
        ]
        if not found:
            return None
        place, stop = min(found)
        self._text = self._text[: place + len(stop) if self._keep_stop else place]
        return stop


def prompt_template(tokenizer: Any) -> PromptTemplate | None:
    """The chat template of transformers' ``tokenizer``; None if it has none. ModelError if it is not valid."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    own = HubTokenizer.from_json(tokenizer.backend_tokenizer.to_str())
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return PromptTemplate(tokenizer.chat_template, own, special)
