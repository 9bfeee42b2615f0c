"""What the engine asks of whoever computes: the one seam between the loop and a model. Imports no torch.

A step goes in, tokens come out; sampling stands behind the seam, so the engine sees no logits. What is needed to draw a
token is the row's seed and position and nothing else: the same token comes after a preemption, in any batch, on another
node.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foreword.cache import CopyBlock
from foreword.engine.token_mask import TokenMask
from foreword.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose the token that follows a chunk.

    seed
        Of this continuation; any whole number. Together with the token's position it determines what is drawn.
    banned
        Token ids that must not come here (ends, before min_tokens).
    mask
        Says which tokens may come, where the answer has a form; not to be changed. None: any.
    """

    params: SamplingParams
    seed: int
    banned: tuple[int, ...] = ()
    mask: TokenMask | None = None


@dataclass(frozen=True, slots=True)
class StepChunk:
    """Tokens [start, end) of one continuation: its rows of the packed batch. Valid until the step has been run.

    The last of them may be a ``draft``: tokens that may come behind the known ones. A token is sampled from the row of the
    last known one, and from each drafted one's as long as what was sampled from the row before is what was drafted.

    tokens
        All its known tokens, prompt and output (int32); the first ``num_prompt_tokens`` are the prompt.
    blocks
        Its block table (int32): block ids of tokens 0, block_size, ... up to ``end`` at least.
    sampling
        None: nothing is sampled after it.
    prompt_logprobs
        For each token of the prompt that follows one of the chunk, so many of the likeliest are reported; None: no report.
    """

    request_id: str
    start: int
    end: int
    tokens: npt.NDArray[np.int32]
    blocks: npt.NDArray[np.int32]
    num_prompt_tokens: int
    sampling: Sampling | None = None
    prompt_logprobs: int | None = None
    draft: tuple[int, ...] = ()

    def ids(self) -> npt.NDArray[np.int32]:
        """The tokens of its rows."""
        if not self.draft:
            return self.tokens[self.start : self.end]
        return np.concatenate((self.tokens[self.start :], np.array(self.draft, np.int32)))

    def after(self, drafted: int) -> "StepChunk":
        """What it would be if so many tokens of its draft were known, and no other were drafted."""
        if not self.draft:
            return self
        tokens = np.concatenate((self.tokens, np.array(self.draft[:drafted], np.int32))) if drafted else self.tokens
        return replace(self, end=len(tokens), tokens=tokens, draft=())


@dataclass(frozen=True, slots=True)
class Step:
    """The chunks that are computed together, in the order of their rows."""

    chunks: tuple[StepChunk, ...]

    @property
    def num_tokens(self) -> int:
        """Rows of the packed batch, without padding."""
        return sum(chunk.end - chunk.start for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A token's log-probability and rank, and the likeliest tokens: ids and log-probabilities, best first."""

    logprob: float
    rank: int
    top_ids: list[int]
    top_logprobs: list[float]


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A token that comes next. ``logprobs``: before penalties and temperature; None unless they were asked for."""

    token: int
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a step brought one chunk.

    tokens
        What was sampled, in order: as much of the draft as was right, and the token behind that. Empty if none was wanted,
        a row is broken, or the mask raised.
    broken
        One of the logits behind the chunk's last known token is NaN or +inf, or all are -inf: neither they nor the KV of the
        chunk can be believed, whether or not there is something to sample.
    prompt_logprobs
        Of the prompt's tokens start + 1, start + 2, ... up to ``end`` or the prompt's last one.
    fault
        What the mask raised. It says nothing of the KV.
    """

    tokens: tuple[SampledToken, ...] = ()
    broken: bool = False
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    fault: BaseException | None = None


def in_turn(chunk: StepChunk, sample: Callable[[StepChunk], SampledToken]) -> tuple[SampledToken, ...]:
    """What comes behind a chunk; ``sample`` gives the token behind one without a draft, of which more and more is known."""
    if chunk.sampling is None:
        return ()
    tokens: list[SampledToken] = []
    for drafted in range(len(chunk.draft) + 1):
        tokens.append(sample(chunk.after(drafted)))
        if drafted == len(chunk.draft) or tokens[-1].token != chunk.draft[drafted]:
            break
    return tuple(tokens)


class Runner(Protocol):
    """Computes steps on KV memory of its own. Called from one thread."""

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        """Do what the cache asks of the memory, in order, before the step that needs it."""
        ...

    def run(self, step: Step) -> list[Sampled]:
        """Compute the chunks' KV, sample, and return one result for each chunk, in order. What it raises fails the step."""
        ...
