"""A request as the engine takes it. Plain values; imports no torch."""

from dataclasses import dataclass

import numpy as np

from foreword.cache import ConversationState, Mark, ModelFingerprint, Namespace, PrivatePart
from foreword.engine.info import EngineInfo
from foreword.engine.token_mask import Grammar
from foreword.errors import ParameterError, PromptError, PromptTooLong
from foreword.outputs import Logprob
from foreword.sampling_params import SamplingParams
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE


@dataclass(frozen=True, slots=True)
class ChoiceProgress:
    """How far one continuation has come: its tokens, and where log-probabilities are asked for, those of each of them."""

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[dict[int, Logprob], ...] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an answer has come that another engine began, and this one is to go on with.

    choices
        One for each of ``n`` continuations; their text follows from their tokens.
    prompt_logprobs
        Of so many tokens of the prompt the log-probabilities have been told.
    """

    choices: tuple[ChoiceProgress, ...]
    prompt_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A prompt of token ids, and how to answer it.

    tokens
        The prompt, packed (``foreword.tokens``).
    request_id
        Any text that no unfinished request has; None: the engine makes one.
    text
        The prompt's text, for the output.
    tenant, cache_salt
        Two requests share cached prefixes only under the same of both.
    asked_by
        Who asked, for events: there may be a tenant that shares with all. None: ``tenant``.
    public_tokens
        So many leading tokens of a tenant's prompt are shared with all tenants.
    marks
        Prefixes that are to be kept longer.
    conversation
        Whether it goes on, as the client says: what is kept is in the cache's ``conversation.py``. None: nothing was said.
    use_cache
        False: the request neither reads nor feeds the cache.
    shown_tokens
        Special tokens that stand in the text, whatever is left out of it.
    stream
        Whether there is news after every token, or only at the end.
    grammar
        The form of the answer, made ready; that of ``params.structured_outputs``, or one that holds it. None: any text.
    predicted
        Packed tokens that may come, as far as whoever asks knows: the answer is the same, and sooner there where they do.
    resume
        How far another engine has come. What follows is what it would have written there, to the bit, provided that
        ``params`` has a seed or takes the likeliest tokens; news begin behind it. None: the answer begins here.
    """

    tokens: bytes
    params: SamplingParams
    request_id: str | None = None
    text: str | None = None
    tenant: str | None = None
    cache_salt: str | None = None
    asked_by: str | None = None
    public_tokens: int = 0
    marks: tuple[Mark, ...] = ()
    conversation: ConversationState | None = None
    use_cache: bool = True
    shown_tokens: frozenset[int] = frozenset()
    stream: bool = True
    grammar: Grammar | None = None
    predicted: bytes = b""
    resume: Progress | None = None


def scope_of(request: EngineRequest, model: ModelFingerprint) -> tuple[Namespace, PrivatePart | None]:
    """Whom a request shares with: its namespace, and where in the prompt that becomes the tenant alone."""
    public = min(request.public_tokens, len(request.tokens) // TOKEN_BYTES)
    if request.tenant is not None and public > 0:
        return Namespace(model, cache_salt=request.cache_salt), PrivatePart(public, request.tenant)
    return Namespace(model, tenant=request.tenant, cache_salt=request.cache_salt), None


def check_request(request: EngineRequest, info: EngineInfo, name: str | None = None) -> None:
    """PromptError or ParameterError for a request that this engine cannot answer. Plain reading, so any thread may ask.

    ``name``: that of the request in errors; None: its id, if it has one.
    """
    known = name or request.request_id
    name = "The request" if known is None else f"Request {known}"
    ids, longest, vocabulary = np.frombuffer(request.tokens, TOKEN_TYPE), info.max_model_len, info.vocab_size
    if not len(ids):
        raise PromptError(f"{name}: the prompt is empty; it needs at least one token.")
    if ids.max() >= vocabulary:
        raise PromptError(f"{name}: token id {ids.max()} is not in the vocabulary of {vocabulary} tokens.")
    if len(ids) >= longest:
        raise PromptTooLong(
            f"{name}: the prompt has {len(ids)} tokens, but prompt and answer together may have {longest}. Shorten it, or "
            f"raise max_model_len if the model allows more.",
            tokens=len(ids),
            most=min(longest, len(ids) - 1),
        )
    if request.params.structured_outputs is not None and request.grammar is None:
        raise ParameterError(
            f"{name}: structured_outputs needs a grammar that was made ready; see foreword.engine.grammars."
        )
    _check_params(request.params, vocabulary, info.end_token_ids)
    if request.resume is not None:
        _check_progress(request.resume, request.params, vocabulary)
    for mark in request.marks:
        if not (0 < mark.position <= len(ids) and mark.ttl_seconds > 0):
            raise ParameterError(f"{mark}: a mark stands at 1 to {len(ids)}, the prompt's length, for more than 0 seconds.")


def _check_params(params: SamplingParams, vocabulary: int, end_token_ids: frozenset[int]) -> None:
    for field, count in (("logprobs", params.logprobs), ("prompt_logprobs", params.prompt_logprobs)):
        if count is not None and count > vocabulary:
            raise ParameterError(f"{field} is {count}; the vocabulary has {vocabulary} tokens.")
    for token in params.stop_token_ids or ():
        if not 0 <= token < vocabulary:
            raise ParameterError(f"stop_token_ids has {token}; the vocabulary has {vocabulary} tokens.")
    if params.min_tokens:
        banned = set(params.stop_token_ids or ()) | (set() if params.ignore_eos else end_token_ids)
        if len(banned) >= vocabulary:
            raise ParameterError(
                f"min_tokens is {params.min_tokens}, but every token of the vocabulary ends the answer. Leave some out of "
                f"stop_token_ids."
            )


def _check_progress(progress: Progress, params: SamplingParams, vocabulary: int) -> None:
    if len(progress.choices) != params.n:
        raise ParameterError(f"resume has {len(progress.choices)} continuations; n is {params.n}.")
    for index, choice in enumerate(progress.choices):
        count = len(choice.token_ids)
        for token in choice.token_ids:
            if not 0 <= token < vocabulary:
                raise ParameterError(f"resume has the token {token}; the vocabulary has {vocabulary} tokens.")
        if count > params.max_tokens:
            raise ParameterError(f"resume has {count} tokens of continuation {index}; max_tokens is {params.max_tokens}.")
        told = None if choice.logprobs is None else len(choice.logprobs)
        wanted = None if params.logprobs is None else count
        if told != wanted:
            raise ParameterError(
                f"resume has log-probabilities of {told} tokens of continuation {index}; as logprobs is {params.logprobs}, "
                f"it needs those of {wanted}."
            )
