"""A request while it runs, as its user sees it: one prompt, n continuations, their texts and log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foreword.account import Account, Drafted
from foreword.engine.detokenizer import TextStream, TokenText
from foreword.engine.request import ChoiceProgress, EngineRequest
from foreword.engine.runner import SampledToken, Sampling, TokenLogprobs
from foreword.engine.token_mask import Grammar
from foreword.errors import ParameterError
from foreword.outputs import ChoiceDelta, CompletionOutput, Delta, Logprob, RequestMetrics, RequestOutput
from foreword.sampling_params import SamplingParams
from foreword.sched import Request
from foreword.tokens import unpack_tokens


class Continuation:
    """One continuation of a prompt; ``request_id`` is that of its Generation."""

    def __init__(
        self,
        request_id: str,
        request: Request,
        index: int,
        params: SamplingParams,
        tokenizer: TokenText,
        end_token_ids: frozenset[int],
        seed: int,
        shown_tokens: frozenset[int] = frozenset(),
        grammar: Grammar | None = None,
    ):
        self.request_id = request_id
        self.request = request
        self.index = index
        self.params = params
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.error: Exception | None = None
        self.first_token_time: float | None = None
        self.finished_time: float | None = None
        self.prompt_logprobs: list[dict[int, Logprob] | None] | None = None
        """By position, as far as computed; the first token has none. Only the first of n continuations keeps them."""
        if params.prompt_logprobs is not None and index == 0:
            self.prompt_logprobs = [None]
        self.text = TextStream(
            tokenizer,
            params.skip_special_tokens,
            params.stop_strings,
            params.include_stop_str_in_output,
            before=request.tokens[: request.num_prompt_tokens].data,
            shown=shown_tokens,
        )
        self.logprobs: list[dict[int, Logprob]] | None = None if params.logprobs is None else []
        self._tokenizer = tokenizer
        self._seed = seed
        self._stop_ids = frozenset(params.stop_token_ids or ())
        self._ends = frozenset() if params.ignore_eos else end_token_ids
        self._banned = tuple(sorted(self._ends | self._stop_ids)) if params.min_tokens else ()
        self._mask = None if grammar is None else grammar.mask(self._ends | self._stop_ids)
        self._cumulative = 0.0
        self.resumed_tokens = 0
        """So many of its tokens came from elsewhere: its reader has them, and as many pieces of its text as said next."""
        self.resumed_pieces = 0

    @property
    def num_output_tokens(self) -> int:
        """Tokens sampled so far."""
        return self.request.num_tokens - self.request.num_prompt_tokens

    @property
    def lacks_prompt_logprobs(self) -> bool:
        """Whether log-probabilities of the prompt are still to be computed."""
        return self.prompt_logprobs is not None and len(self.prompt_logprobs) < self.request.num_prompt_tokens

    @property
    def has_form(self) -> bool:
        """Whether its text has a form that says what may come."""
        return self._mask is not None

    def sampling(self) -> Sampling:
        """How to choose its next token."""
        return Sampling(self.params, self._seed, self._banned_tokens(), self._mask)

    def token_ids(self, start: int = 0) -> list[int]:
        """The sampled tokens from the one numbered ``start`` on."""
        ids: list[int] = self.request.tokens[self.request.num_prompt_tokens + start : self.request.num_tokens].tolist()
        return ids

    def most_drafted(self) -> int:
        """How many tokens may be drafted: with the one behind them no more than may come, and an end may come behind all of
        them or behind none."""
        room, lacking = self.request.limit - self.request.num_tokens - 1, self.params.min_tokens - self.num_output_tokens
        return min(room, lacking - 1) if lacking > 0 else room

    def possible(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """As much of a draft as could come: none behind which the answer ends, none that its form forbids."""
        kept: list[int] = []
        mask = None if self._mask is None else self._mask.fork()
        for token in tokens:
            if token in self._ends or token in self._stop_ids or not (mask is None or mask.takes(token)):
                break
            kept.append(token)
            if mask is not None and not mask.advance(token):
                break
        return tuple(kept)

    def forced_tokens(self) -> tuple[int, ...]:
        """What comes next by the form of the answer, as it is mostly written; empty if there is a choice."""
        return () if self._mask is None else self.possible(self._mask.fork().forced())

    def add_token(self, sampled: SampledToken, now: float) -> None:
        """Append a sampled token and decide whether it is the last one."""
        token = sampled.token
        if self.first_token_time is None:
            self.first_token_time = now
        self._append(token, None if sampled.logprobs is None else self._describe(token, sampled.logprobs))

    def resume(self, progress: ChoiceProgress) -> None:
        """Append what another engine has sampled, before anything is computed; ``finish_reason`` is set if that was all.

        ParameterError for tokens behind an end, GrammarFailed for one that the form of the answer does not let come.
        """
        given = progress.token_ids
        for place, token in enumerate(given):
            if self.finish_reason is not None:
                raise ParameterError(f"resume has {len(given)} tokens, but the answer ends with number {place}.")
            self._append(token, None if progress.logprobs is None else progress.logprobs[place])
        if self.finish_reason is not None:
            self.text.finish()
        self.resumed_tokens, self.resumed_pieces = self.num_output_tokens, len(self.text.pieces)

    def _append(self, token: int, logprobs: dict[int, Logprob] | None) -> None:
        """Append a token, and decide whether it is the last one."""
        self.request.append(token)
        if logprobs is not None:
            assert self.logprobs is not None
            self._cumulative += logprobs[token].logprob
            self.logprobs.append(logprobs)
        if token in self._ends:
            self.finish_reason = "stop"
            return
        if token in self._stop_ids:
            self.finish_reason, self.stop_reason = "stop", token
            return
        goes_on = self._mask is None or self._mask.advance(token)
        stop = self.text.add(token, may_stop=self.num_output_tokens >= self.params.min_tokens)
        if stop is not None:
            self.finish_reason, self.stop_reason = "stop", stop
        elif not goes_on:
            self.finish_reason = "stop"
        elif self.request.num_tokens >= self.request.limit:
            self.finish_reason = "length"

    def add_prompt_logprobs(self, start: int, logprobs: Sequence[TokenLogprobs]) -> None:
        """Log-probabilities of the prompt's tokens from position ``start`` on; what is known already is passed over."""
        if self.prompt_logprobs is None:
            return
        for position, found in enumerate(logprobs, start):
            if position == len(self.prompt_logprobs):
                self.prompt_logprobs.append(self._describe(int(self.request.tokens[position]), found))

    def finish(self, reason: str, now: float, error: Exception | None) -> None:
        """No more tokens."""
        self.finish_reason, self.finished_time, self.error = reason, now, error
        self.text.finish()

    def output(self) -> CompletionOutput:
        """All of it so far."""
        return CompletionOutput(
            index=self.index,
            text=self.text.text,
            token_ids=self.token_ids(),
            cumulative_logprob=None if self.logprobs is None else self._cumulative,
            logprobs=None if self.logprobs is None else list(self.logprobs),
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )

    def _banned_tokens(self) -> tuple[int, ...]:
        """Ends that must not come yet."""
        return () if self.num_output_tokens >= self.params.min_tokens else self._banned

    def _describe(self, token: int, logprobs: TokenLogprobs) -> dict[int, Logprob]:
        tokenizer = self._tokenizer

        def described(token: int, value: float, rank: int) -> Logprob:
            return Logprob(value, rank, tokenizer.token_text(token), tokenizer.token_bytes(token))

        entries = {
            other: described(other, value, rank)
            for rank, (other, value) in enumerate(zip(logprobs.top_ids, logprobs.top_logprobs, strict=True), start=1)
        }
        entries[token] = described(token, logprobs.logprob, logprobs.rank)
        return entries


@dataclass(eq=False)
class Generation:
    """A request of a user and its continuations so far. Only the engine changes it; once finished, nobody does."""

    request_id: str
    request: EngineRequest
    continuations: list[Continuation]
    arrival: float

    @property
    def finished(self) -> bool:
        """Whether all its continuations have ended."""
        return all(continuation.finished_time is not None for continuation in self.continuations)

    @property
    def error(self) -> Exception | None:
        """Why it was not answered; None when it was, or is being."""
        return next((continuation.error for continuation in self.continuations if continuation.error), None)

    @property
    def num_output_tokens(self) -> int:
        """Tokens sampled so far, in all continuations."""
        return sum(continuation.num_output_tokens for continuation in self.continuations)

    def account(self) -> Account:
        """Where the prompt's tokens came from so far: for the first continuation; the others share its prompt."""
        account = self.continuations[0].request.account()
        if len(self.continuations) == 1:
            return account
        drafts: dict[str, Drafted] = {}
        for continuation in self.continuations:
            for name, each in continuation.request.account().drafts.items():
                drafts[name] = drafts.get(name, Drafted()).plus(each)
        return replace(account, drafts=drafts)

    def metrics(self) -> RequestMetrics:
        """Its times so far."""
        first = [c.first_token_time for c in self.continuations if c.first_token_time is not None]
        ends = [c.finished_time for c in self.continuations if c.finished_time is not None]
        return RequestMetrics(
            arrival_time=self.arrival,
            first_token_time=min(first, default=None),
            finished_time=max(ends) if self.finished else None,
            preemptions=sum(continuation.request.preemptions for continuation in self.continuations),
        )

    def output(self) -> RequestOutput:
        """All there is so far, made whole: time and memory in the length of prompt and answer."""
        return RequestOutput(
            request_id=self.request_id,
            prompt=self.request.text,
            prompt_token_ids=unpack_tokens(self.request.tokens),
            prompt_logprobs=self.continuations[0].prompt_logprobs,
            outputs=[continuation.output() for continuation in self.continuations],
            finished=self.finished,
            metrics=self.metrics(),
            account=self.account(),
            error=self.error,
        )


class Reader:
    """A place in a generation: each look gives what has come since the one before."""

    def __init__(self, generation: Generation):
        self._generation = generation
        self._places = [_Place(continuation) for continuation in generation.continuations]
        resume = generation.request.resume
        self._prompt = 0 if resume is None else resume.prompt_logprobs

    def take(self) -> Delta:
        """What is new. After that of a finished generation there is no more."""
        generation, told = self._generation, self._prompt
        of_prompt = generation.continuations[0].prompt_logprobs or ()
        self._prompt = max(told, len(of_prompt))
        return Delta(
            request_id=generation.request_id,
            choices=tuple(choice for place in self._places if (choice := place.take()) is not None),
            account=generation.account(),
            metrics=generation.metrics(),
            finished=generation.finished,
            prompt_logprobs=tuple(of_prompt[told:]),
        )


class _Place:
    """How far one continuation has been read."""

    def __init__(self, continuation: Continuation):
        self._continuation = continuation
        self._pieces = continuation.resumed_pieces
        self._tokens = continuation.resumed_tokens
        self._ended = False

    def take(self) -> ChoiceDelta | None:
        continuation = self._continuation
        pieces, tokens = self._pieces, self._tokens
        ends = continuation.finished_time is not None and not self._ended
        if continuation.num_output_tokens == tokens and not ends:
            return None
        self._pieces, self._tokens = len(continuation.text.pieces), continuation.num_output_tokens
        self._ended = self._ended or ends
        logprobs = continuation.logprobs
        return ChoiceDelta(
            index=continuation.index,
            text="".join(continuation.text.pieces[pieces:]),
            token_ids=tuple(continuation.token_ids(tokens)),
            logprobs=None if logprobs is None else tuple(logprobs[tokens:]),
            finish_reason=continuation.finish_reason if ends else None,
            stop_reason=continuation.stop_reason if ends else None,
            text_ends=tuple(continuation.text.ends[tokens:]),
        )
