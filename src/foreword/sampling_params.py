"""How to choose the next token, and when to stop."""

import math
import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from foreword.errors import ParameterError

MAX_CONTINUATIONS = 1024
MAX_STOPS = 64
MAX_STOP_CHARACTERS = 4096
FORMS = ("json", "regex", "choice", "grammar", "json_object")
"""Ways to say which form an answer has."""
SWITCHES = ("disable_any_whitespace", "disable_additional_properties")


@dataclass(frozen=True)
class StructuredOutputs:
    """The form that an answer must have: one of the first five fields. Every answer that ends by itself has it.

    One that ``max_tokens`` cuts has the beginning of it. What a schema, expression or grammar asks for and cannot be had is
    refused by name when the request is made. The names are those that vLLM users know.
    """

    json: str | Mapping[str, Any] | bool | None = None
    """A JSON schema, or its JSON text: the answer is JSON that it takes."""
    regex: str | None = None
    """A regular expression that the whole answer matches, as Rust's ``regex`` has them: no look-around, no references."""
    choice: Sequence[str] | None = None
    """Texts, of which the answer is one."""
    grammar: str | None = None
    """A grammar in llguidance's variant of Lark, or in llama.cpp's GBNF; the answer is what ``start`` (``root``) derives."""
    json_object: bool | None = None
    """True: the answer is any JSON object."""
    disable_any_whitespace: bool = False
    """JSON without blanks and line ends between its parts; else there may be a blank, or a line's end and an indentation."""
    disable_additional_properties: bool = False
    """JSON objects have only the properties that their schema names."""
    whitespace_pattern: str | None = None
    """A regular expression of what may stand between the parts of JSON."""

    def __post_init__(self) -> None:
        given = [
            name for name in FORMS if getattr(self, name) not in (None, False) or (name == "json" and self.json is False)
        ]
        if len(given) != 1:
            has = " and ".join(given) or "none of them"
            raise ParameterError(f"structured_outputs has {has}; it needs exactly one of {', '.join(FORMS)}.")
        texts, switches = ("regex", "grammar", "whitespace_pattern"), (*FORMS[4:], *SWITCHES)
        self._check("json", isinstance(self.json, str | Mapping | bool | None), "a JSON schema, or its text")
        for name in texts:
            self._check(name, isinstance(getattr(self, name), str | None), "a text")
        self._check("choice", self.choice is None or _all_are(str, self.choice), "a list of texts")
        if self.choice is not None and not self.choice:
            raise ParameterError("structured_outputs.choice is empty; it must have at least one text.")
        for name in switches:
            self._check(name, isinstance(getattr(self, name), bool | None), "True or False")

    def _check(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            kind = type(getattr(self, name)).__name__
            raise ParameterError(f"structured_outputs.{name} is of the kind {kind}; it must be {allowed}.")


@dataclass(frozen=True)
class SamplingParams:
    """Parameters of one generation; the names and defaults are those that vLLM users know.

    Every field is honoured. A value out of range raises ParameterError when the object is made.
    """

    n: int = 1
    """Independent continuations of one prompt, at most 1,024; the prompt is computed once."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token generated so far, -2 to 2."""
    frequency_penalty: float = 0.0
    """Subtracted from the logit of a token for each time it was generated, -2 to 2."""
    repetition_penalty: float = 1.0
    """Divides (multiplies, when negative) the logits of tokens in prompt and output; above 0."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Keep the likeliest tokens up to this probability, 0 to 1; the likeliest one is always kept."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 or -1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this share as likely as the likeliest, 0 to 1."""
    seed: int | None = None
    """Makes sampling repeatable, whatever else is in the batch."""
    stop: str | Sequence[str] | None = None
    """Texts at which to stop; not part of the output unless include_stop_str_in_output."""
    stop_token_ids: Sequence[int] | None = None
    """Token ids at which to stop."""
    ignore_eos: bool = False
    """Go on after the model's end token."""
    max_tokens: int = 16
    """Most tokens to generate; the model's context may end it sooner. 0 computes the prompt, to have it cached."""
    min_tokens: int = 0
    """No end token and no stop before this many tokens."""
    logprobs: int | None = None
    """Report this many of the likeliest tokens, and the chosen one, at every position."""
    prompt_logprobs: int | None = None
    """The same for the prompt; its logits must all be computed, so the (first) continuation does not use the cache."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text."""
    include_stop_str_in_output: bool = False
    """Keep the stop text at the end of the output."""
    structured_outputs: StructuredOutputs | None = None
    """The form of the answer. It says where the answer may end, so ``stop`` and ``min_tokens`` cannot stand beside it; end
    tokens and ``stop_token_ids`` come only where it may end."""

    def __post_init__(self) -> None:
        self._check_types()
        self._check_range("n", 1 <= self.n <= MAX_CONTINUATIONS, f"between 1 and {MAX_CONTINUATIONS}")
        for name in ("presence_penalty", "frequency_penalty"):
            self._check_range(name, -2 <= getattr(self, name) <= 2, "between -2 and 2")
        self._check_range("repetition_penalty", self.repetition_penalty > 0, "above 0")
        self._check_range("temperature", self.temperature >= 0, "0 or more")
        self._check_range("top_p", 0 <= self.top_p <= 1, "between 0 and 1")
        self._check_range("top_k", self.top_k >= -1, "-1, 0, or the number of tokens to keep")
        self._check_range("min_p", 0 <= self.min_p <= 1, "between 0 and 1")
        self._check_range("seed", self.seed is None or abs(self.seed) <= 2**62, "None, or between -2**62 and 2**62")
        self._check_range("max_tokens", self.max_tokens >= 0, "0 or more")
        self._check_range("min_tokens", 0 <= self.min_tokens <= self.max_tokens, "between 0 and max_tokens")
        for name in ("logprobs", "prompt_logprobs"):
            self._check_range(name, getattr(self, name) is None or getattr(self, name) >= 0, "None, or 0 or more")
        self._check_stops()
        self._check_form()

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts at which to stop: each once, and none that is empty, which asks for nothing."""
        if self.stop is None:
            return ()
        given = (self.stop,) if isinstance(self.stop, str) else self.stop
        return tuple(dict.fromkeys(text for text in given if text))

    def _check_stops(self) -> None:
        """Every token's text is compared with all of them."""
        count, longest = len(self.stop_strings), max(map(len, self.stop_strings), default=0)
        if count > MAX_STOPS:
            raise ParameterError(f"stop has {count} texts; it may have {MAX_STOPS}.")
        if longest > MAX_STOP_CHARACTERS:
            raise ParameterError(f"stop has a text of {longest} characters; each may have {MAX_STOP_CHARACTERS}.")

    def _check_form(self) -> None:
        """What says otherwise than a form where an answer ends."""
        for name, given in (("stop", self.stop_strings), ("min_tokens", self.min_tokens)):
            if given and self.structured_outputs is not None:
                value = getattr(self, name)
                raise ParameterError(
                    f"{name} is {value!r}, but structured_outputs says where the answer may end; leave one of them out."
                )

    def _check_range(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ParameterError(f"{name} is {getattr(self, name)!r}; it must be {allowed}.")

    def _check_types(self) -> None:
        for field in _FIELDS:
            value = getattr(self, field.name)
            if value is field.default:
                continue
            kind = getattr(field.type, "__name__", str(field.type))
            if kind.startswith("int"):
                right = (isinstance(value, int) and not isinstance(value, bool)) or ("None" in kind and value is None)
                wanted = "a whole number"
            elif kind == "float":
                right = not isinstance(value, bool) and isinstance(value, int | float) and _is_finite(value)
                wanted = "a finite number"
            elif kind == "bool":
                right, wanted = isinstance(value, bool), "True or False"
            elif field.name == "structured_outputs":
                right, wanted = isinstance(value, StructuredOutputs | None), "StructuredOutputs or None"
            elif field.name == "stop_token_ids":
                right = value is None or _all_are(int, value)
                wanted = "a list of token ids"
            else:
                right = value is None or isinstance(value, str) or _all_are(str, value)
                wanted = "a string or a list of strings"
            if not right:
                raise ParameterError(f"{field.name} is {value!r}; it must be {wanted}.")


_FIELDS = fields(SamplingParams)


def checked_params(given: Any) -> SamplingParams:
    """What was given to a call, or the defaults. ParameterError, with the way out, for what is no SamplingParams."""
    if given is None:
        return SamplingParams()
    if not isinstance(given, SamplingParams):
        fields_of = "**" if isinstance(given, Mapping) else ""
        raise ParameterError(
            f"sampling_params is {reprlib.repr(given)}, a {type(given).__name__}; give SamplingParams({fields_of}...)."
        )
    return given


def _all_are(kind: type, value: Any) -> bool:
    """Whether it is a list, or something else that can be read more than once, of values of a kind."""
    if not isinstance(value, Collection) or isinstance(value, str | bytes):
        return False
    return all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that is larger than any float
        return False
