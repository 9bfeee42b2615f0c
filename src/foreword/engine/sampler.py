"""From logits to tokens: one batch, each row by its own parameters, and never dependent on the other rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from foreword.sampling_params import SamplingParams


@dataclass(slots=True)
class SamplingRow:
    """What the sampler needs to know of one sequence.

    tokens
        Prompt and output so far (int32); the first ``num_prompt_tokens`` are the prompt.
    banned
        Token ids that must not come yet (ends, before min_tokens).
    """

    params: SamplingParams
    generator: torch.Generator
    tokens: npt.NDArray[np.int32]
    num_prompt_tokens: int
    banned: list[int]


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Chosen token's log-probability and rank, and the likeliest tokens: ids and log-probabilities, best first."""

    logprob: float
    rank: int
    top_ids: list[int]
    top_logprobs: list[float]


@dataclass(frozen=True, slots=True)
class Sampled:
    """A row's token; None when one of its logits is NaN or +inf."""

    token: int | None
    logprobs: TokenLogprobs | None


GREEDY_BELOW = 1e-5
"""Temperatures below this take the likeliest token."""
SMALLEST_NOISE = 1e-30
"""0 / 0 would be NaN, and NaN would win."""


def sample(logits: torch.Tensor, rows: list[SamplingRow]) -> list[Sampled]:
    """Choose a token for every row of ``logits`` [rows, vocabulary]. Log-probabilities are those before any change."""
    broken = (~(logits < float("inf"))).any(-1).tolist()
    adjusted = logits.clone() if any(_changes_logits(row) for row in rows) else logits
    for index, row in enumerate(rows):
        _adjust(adjusted[index], row)
    tokens = adjusted.argmax(-1).tolist()
    for index, row in enumerate(rows):
        if row.params.temperature >= GREEDY_BELOW and not broken[index]:
            tokens[index] = _draw(adjusted[index], row)
    out = []
    for index, row in enumerate(rows):
        if broken[index]:
            out.append(Sampled(None, None))
            continue
        count = row.params.logprobs
        reported = None if count is None else token_logprobs(logits[index], tokens[index], count)
        out.append(Sampled(tokens[index], reported))
    return out


def token_logprobs(logits: torch.Tensor, token: int, count: int) -> TokenLogprobs:
    """Log-probabilities of one row [vocabulary]: of ``token`` and of the ``count`` likeliest."""
    logprobs = logits.log_softmax(-1)
    chosen = logprobs[token]
    values, ids = logprobs.topk(min(count, len(logprobs)))
    rank = int((logprobs > chosen).sum()) + 1
    return TokenLogprobs(float(chosen), rank, ids.tolist(), values.tolist())


def _changes_logits(row: SamplingRow) -> bool:
    params = row.params
    return bool(row.banned or params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0)


def _adjust(logits: torch.Tensor, row: SamplingRow) -> None:
    """Apply penalties and bans to one row, in place."""
    params = row.params
    if params.repetition_penalty != 1.0:
        seen = torch.from_numpy(np.unique(row.tokens)).long()
        values = logits[seen]
        logits[seen] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    if params.presence_penalty or params.frequency_penalty:
        ids, counts = np.unique(row.tokens[row.num_prompt_tokens :], return_counts=True)
        penalties = params.presence_penalty + params.frequency_penalty * torch.from_numpy(counts).to(logits.dtype)
        logits[torch.from_numpy(ids).long()] -= penalties
    if row.banned:
        logits[row.banned] = float("-inf")


def _draw(logits: torch.Tensor, row: SamplingRow) -> int:
    """Draw from one row after temperature, top-k, top-p and min-p.

    The noise has the length of the vocabulary whatever was cut, so a seed gives the same draw in any batch.
    """
    params = row.params
    probabilities = (logits / params.temperature).softmax(-1)
    if 0 < params.top_k < len(logits):
        least = probabilities.topk(params.top_k).values[-1]
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if params.top_p < 1.0:
        ordered, ids = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        total = ordered.sum()
        probabilities[ids[before >= params.top_p * total]] = 0.0
    if params.min_p > 0.0:
        probabilities = probabilities.masked_fill(probabilities < params.min_p * probabilities.max(), 0.0)
    noise = torch.empty_like(probabilities).exponential_(generator=row.generator)
    return int((probabilities / noise.clamp_min_(SMALLEST_NOISE)).argmax())
