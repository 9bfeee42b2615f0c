"""Grammars over a model's tokens, by llguidance: from the form that an answer must have to masks. Imports no torch."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from foreword.engine.grammar_text import FIELD, grammar_of
from foreword.engine.grammar_trial import GrammarTrial
from foreword.engine.json_schema import OPTIONS
from foreword.engine.token_mask import WORD, Row, TokenMask, row_length
from foreword.errors import GrammarFailed, ParameterError
from foreword.lazy import extra_needed
from foreword.prompt.tokenizer import HubTokenizer
from foreword.sampling_params import StructuredOutputs

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

KEPT = 64
"""Grammars of late that are remembered, those that were refused too: agents and batches send the same one again."""
ERROR_LINES, ERROR_CHARACTERS = 12, 2000
"""Of what llguidance says of a grammar, so much is told."""
_MARKS = re.compile(r"^at \d+\(\d+\): |failed to compile JSON schema: |<non-verbose/>")
_EXCERPT = re.compile(r"\s+(\d+ \| |\^$)")
DEAD_END, NO_TEXT = "NoExtensionBias", "no text has this form, as where a rule or a $ref is nothing but itself"
"""What llguidance says of a grammar by which no first token may come, and what it means."""
TOO_COMPLEX = (
    "The form of the answer became too complex in the midst of it, so the answer ends. Ask for a form with fewer "
    "alternatives that begin alike, and smaller bounds of lengths and counts."
)
FORBIDDEN = "doesn't satisfy the grammar"
"""What llguidance says of a token that may not come."""
MOST_SECONDS = 0.25
"""Of a processor, for what one token asks of a form: all requests of the step wait for it."""
MOST_ITEMS = 20_000
"""Alternatives that may be open at a place: an object with 1,000 properties that may be left out has 4,000."""
PREFIX = "\x02"
"""Before a text that is tokenized as the middle of one; no tokenizer joins it with what follows."""


class Grammars:
    """Makes forms of answers ready, for one model. Any thread may ask; what is needed of the model is read when first asked.

    size
        Tokens for which the model gives logits.
    ends
        Its end tokens.
    """

    def __init__(self, tokenizer: HubTokenizer, size: int, ends: frozenset[int]):
        self._tokenizer = tokenizer
        self._size = size
        self._ends = ends
        self._lock = threading.Lock()
        self._known: tuple[LLTokenizer, GrammarTrial] | None = None
        self._made: OrderedDict[str, LLGrammar | str] = OrderedDict()

    def of(self, wanted: StructuredOutputs | None) -> "LLGrammar | None":
        """The form that is wanted; None if there is none. ParameterError for one that cannot be kept, and why."""
        if wanted is None:
            return None
        with extra_needed(FIELD, "engine"):
            return self.compiled(grammar_of(wanted), FIELD)

    def compiled(self, grammar: str, name: str) -> "LLGrammar":
        """A grammar's text made ready; ``name`` is that of its origin in errors."""
        with self._lock:
            made = self._made.get(grammar)
            if made is not None:
                self._made.move_to_end(grammar)
        if made is None:
            made = self._compile(grammar, name)
            with self._lock:
                self._made[grammar] = made
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
        if isinstance(made, str):
            raise ParameterError(f"{name} cannot be kept: {made}")
        return made

    def _compile(self, grammar: str, name: str) -> "LLGrammar | str":
        """A grammar made ready, or why it cannot be kept."""
        with extra_needed(name, "engine"):
            from llguidance import LLMatcher
        vocabulary, trial = self._ready()
        fault = trial.fault(grammar)
        if fault is None:
            matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=_limits())
            fault = matcher.get_error()
            if not matcher.is_error():
                return LLGrammar(grammar, matcher, self._size, self._ends)
        return _told(fault)

    def _ready(self) -> "tuple[LLTokenizer, GrammarTrial]":
        with self._lock:
            if self._known is None:
                self._known = self._read()
            return self._known

    def _read(self) -> "tuple[LLTokenizer, GrammarTrial]":
        from llguidance import LLTokenizer, TokenizerWrapper

        words = _Words(self._tokenizer, self._size, self._ends)
        tokenizer = LLTokenizer(TokenizerWrapper(words), eos_token=words.ends)
        words.split = tokenizer.greedy_tokenize
        return tokenizer, GrammarTrial(self._size, words.special)


class LLGrammar:
    """A form, made ready; see Grammar."""

    def __init__(self, text: str, matcher: "LLMatcher", size: int, model_ends: frozenset[int]):
        self.text = text
        self._matcher = matcher
        self._size = size
        self._model_ends = model_ends

    def mask(self, ends: frozenset[int]) -> TokenMask:
        """A mask at the beginning of an answer."""
        return LLMask(self._matcher.deep_copy(), self._size, ends, self._model_ends)


class LLMask:
    """The rules of one answer, as far as it has come; see TokenMask."""

    def __init__(self, matcher: "LLMatcher", size: int, ends: frozenset[int], model_ends: frozenset[int]):
        self._matcher = matcher
        self._size = size
        self._own_ends = ends
        self._model_ends = model_ends
        self._whole = np.zeros(row_length(size + 1), np.int32)
        self._address = self._whole.ctypes.data
        self._ends = _bits(ends, len(self._whole))
        self._told_by_all = ends | model_ends | {size}
        self._last_way_out = _bits(model_ends, len(self._whole))
        self._inner = ~_bits(self._told_by_all, len(self._whole))

    def takes(self, token: int) -> bool:
        """Whether a token may come next; of ends that is told by ``allowed`` alone."""
        return token not in self._told_by_all and self._matcher.validate_tokens([token]) == 1

    def allowed(self, row: Row) -> None:
        """Set the bits of the tokens that may come next. GrammarFailed if there is none, or the form is too complex here."""
        whole, began = self._whole, time.thread_time()
        self._matcher.unsafe_compute_mask_ptr(self._address, whole.nbytes)
        if self._matcher.is_error() or time.thread_time() - began > MOST_SECONDS:
            raise GrammarFailed(TOO_COMPLEX)
        whole &= self._inner
        if self._matcher.is_accepting():
            whole |= self._ends
            if not whole.any():  # nothing but an end can come, though the model's ends are to be passed over
                whole |= self._last_way_out
        if not whole.any():
            raise GrammarFailed("No token of the vocabulary can go on with the form of the answer.")
        row[:] = whole[: len(row)]

    def advance(self, token: int) -> bool:
        """Take the token that has come. GrammarFailed if it may not come, or the form is too complex behind it."""
        if token in self._model_ends:
            return False
        began = time.thread_time()
        if not self._matcher.consume_token(token):
            forbidden = FORBIDDEN in self._matcher.get_error()
            raise GrammarFailed("The form of the answer does not let this token come." if forbidden else TOO_COMPLEX)
        if time.thread_time() - began > MOST_SECONDS:
            raise GrammarFailed(TOO_COMPLEX)
        return not self._matcher.is_stopped()

    def fork(self) -> TokenMask:
        """Another one that has come as far."""
        return LLMask(self._matcher.deep_copy(), self._size, self._own_ends, self._model_ends)

    def forced(self) -> Sequence[int]:
        """Tokens about which the form leaves no choice here. GrammarFailed if it is too complex here."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        if self._matcher.is_error():
            raise GrammarFailed(TOO_COMPLEX)
        return tokens


class _Words:
    """A model's vocabulary, as llguidance asks for one. One token beyond it is an end that no model writes.

    split
        How a text is cut into tokens where the tokenizer would change it.
    """

    bos_token_id = None

    def __init__(self, tokenizer: HubTokenizer, size: int, ends: frozenset[int]):
        known = tokenizer.vocabulary(size)
        self._tokenizer = tokenizer
        self._texts = known.texts
        self.special = known.special
        self.ends = sorted(ends) or [size]
        self.eos_token_id = self.ends[0]
        self.tokens = [*known.texts, b"<no end>"]
        for name, token in known.special.items():
            self.tokens[token] = name.encode()
        for token in ends:
            self.tokens[token] = self.tokens[token] or b"<end>"
        self.special_token_ids = sorted({*known.special.values(), *ends, size})
        self.split = self._bytewise

    def __call__(self, text: str | bytes) -> list[int]:
        """The tokens of a text that stands within another one."""
        given = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        for before in ("", PREFIX):
            ids = self._tokenizer.encode(before + given).ids
            head = len(self._tokenizer.encode(before).ids) if before else 0
            if b"".join(self._texts[token] for token in ids[head:] if token < len(self._texts)) == given.encode():
                return ids[head:]
        return self.split(given)

    def _bytewise(self, text: str) -> list[int]:
        at = {texts: token for token, texts in enumerate(self._texts) if len(texts) == 1}
        return [at[bytes([byte])] for byte in text.encode() if bytes([byte]) in at]


def _limits() -> "LLParserLimits":
    from llguidance import LLParserLimits

    return LLParserLimits(verbose_errors=False, max_lexer_states=50_000, max_items_in_row=MOST_ITEMS)


def _told(fault: str) -> str:
    """What llguidance says of a grammar, without its marks, and without lines of a schema that the caller never wrote."""
    lines = [line.rstrip() for line in _MARKS.sub("", fault).splitlines() if line.strip()]
    if any(OPTIONS in line for line in lines):
        lines = [line for line in lines if not _EXCERPT.match(line)]
    if lines == [DEAD_END]:
        return f"{NO_TEXT}."
    return "\n".join(lines[:ERROR_LINES])[:ERROR_CHARACTERS]


def _bits(tokens: frozenset[int], words: int) -> Row:
    """A row with the bits of some tokens set."""
    flags = np.zeros(words * WORD, np.uint8)
    flags[sorted(tokens)] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)
