"""A request while it runs, as its user sees it: one prompt, n sequences, their texts and log-probabilities."""

from dataclasses import dataclass

import torch

from foreword.engine.detokenizer import TextStream
from foreword.engine.model import LoadedModel
from foreword.engine.sampler import Sampled, TokenLogprobs
from foreword.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
from foreword.sampling_params import SamplingParams
from foreword.sched import Request


class Sequence:
    """One continuation of a prompt; ``request_id`` is that of its Generation."""

    def __init__(
        self,
        request_id: str,
        request: Request,
        index: int,
        params: SamplingParams,
        model: LoadedModel,
        generator: torch.Generator,
    ):
        self.request_id = request_id
        self.request = request
        self.index = index
        self.params = params
        self.generator = generator
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.error: Exception | None = None
        self.first_token_time: float | None = None
        self.finished_time: float | None = None
        self._model = model
        self._text = TextStream(
            model.tokenizer.backend_tokenizer,
            params.skip_special_tokens,
            params.stop_strings,
            params.include_stop_str_in_output,
        )
        self._stop_ids = frozenset(params.stop_token_ids or ())
        self._ends = frozenset() if params.ignore_eos else model.eos_token_ids
        self._logprobs: list[dict[int, Logprob]] | None = None if params.logprobs is None else []
        self._cumulative = 0.0
        self._prompt_logprobs: list[dict[int, Logprob] | None] | None = None
        if params.prompt_logprobs is not None and index == 0:
            self._prompt_logprobs = [None]

    @property
    def num_output_tokens(self) -> int:
        """Tokens generated so far."""
        return self.request.num_tokens - self.request.num_prompt_tokens

    @property
    def prompt_done(self) -> bool:
        """Whether the first token has been sampled."""
        return self.num_output_tokens > 0

    @property
    def prompt_logprobs(self) -> list[dict[int, Logprob] | None] | None:
        """By position, as far as computed; the first token has none. Only the first of n sequences keeps them."""
        return self._prompt_logprobs

    @property
    def lacks_prompt_logprobs(self) -> bool:
        """Whether logprobs of the prompt are asked for and not all computed yet."""
        return self._prompt_logprobs is not None and len(self._prompt_logprobs) < self.request.num_prompt_tokens

    def banned_tokens(self) -> list[int]:
        """Ends that must not come yet."""
        if self.num_output_tokens >= self.params.min_tokens:
            return []
        return sorted(self._ends | self._stop_ids)

    def add_token(self, sampled: Sampled, now: float) -> None:
        """Append a sampled token and decide whether it is the last one."""
        token = sampled.token
        assert token is not None
        if self.first_token_time is None:
            self.first_token_time = now
        self.request.append(token)
        if sampled.logprobs is not None:
            assert self._logprobs is not None
            self._cumulative += sampled.logprobs.logprob
            self._logprobs.append(self._describe(token, sampled.logprobs))
        if token in self._ends:
            self.finish_reason = "stop"
            return
        if token in self._stop_ids:
            self.finish_reason, self.stop_reason = "stop", token
            return
        stop = self._text.add(token, may_stop=self.num_output_tokens >= self.params.min_tokens)
        if stop is not None:
            self.finish_reason, self.stop_reason = "stop", stop
        elif self.request.num_tokens >= self.request.limit:
            self.finish_reason = "length"

    def add_prompt_logprobs(self, position: int, logprobs: TokenLogprobs) -> None:
        """Log-probabilities of the prompt's token at ``position``, which come in order, once each."""
        assert self._prompt_logprobs is not None
        if position == len(self._prompt_logprobs):
            self._prompt_logprobs.append(self._describe(int(self.request.tokens[position]), logprobs))

    def finish(self, reason: str, now: float, error: Exception | None) -> None:
        """No more tokens."""
        self.finish_reason, self.finished_time, self.error = reason, now, error
        self._text.finish()

    def output(self) -> CompletionOutput:
        """What there is so far."""
        request = self.request
        return CompletionOutput(
            index=self.index,
            text=self._text.text,
            token_ids=request.tokens[request.num_prompt_tokens : request.num_tokens].tolist(),
            cumulative_logprob=None if self._logprobs is None else self._cumulative,
            logprobs=None if self._logprobs is None else list(self._logprobs),
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )

    def _describe(self, token: int, logprobs: TokenLogprobs) -> dict[int, Logprob]:
        decode = self._model.tokenizer.decode
        entries = {
            other: Logprob(value, rank, decode([other]))
            for rank, (other, value) in enumerate(zip(logprobs.top_ids, logprobs.top_logprobs, strict=True), start=1)
        }
        entries[token] = Logprob(logprobs.logprob, logprobs.rank, decode([token]))
        return entries


@dataclass(eq=False)
class Generation:
    """A request of a user. ``stream``: it gives an output after every token, not only at its end."""

    request_id: str
    text: str | None
    prompt: list[int]
    params: SamplingParams
    sequences: list[Sequence]
    arrival: float
    stream: bool

    @property
    def finished(self) -> bool:
        """Whether all continuations have ended."""
        return all(sequence.finished_time is not None for sequence in self.sequences)

    def output(self) -> RequestOutput:
        """What there is so far."""
        first = [s.first_token_time for s in self.sequences if s.first_token_time is not None]
        ends = [s.finished_time for s in self.sequences if s.finished_time is not None]
        return RequestOutput(
            request_id=self.request_id,
            prompt=self.text,
            prompt_token_ids=self.prompt,
            prompt_logprobs=self.sequences[0].prompt_logprobs,
            outputs=[sequence.output() for sequence in self.sequences],
            finished=self.finished,
            metrics=RequestMetrics(
                arrival_time=self.arrival,
                first_token_time=min(first, default=None),
                finished_time=max(ends) if self.finished else None,
                preemptions=sum(sequence.request.preemptions for sequence in self.sequences),
            ),
            account=self.sequences[0].request.account(),
            error=next((sequence.error for sequence in self.sequences if sequence.error), None),
        )
