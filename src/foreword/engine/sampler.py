"""From logits to tokens: one batch, each row by its own parameters, and never dependent on the other rows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from foreword.engine.runner import Sampled, Sampling, StepChunk, TokenLogprobs
from foreword.engine.token_mask import Row, forbidden_tokens, may_come

GREEDY_BELOW = 1e-5
"""Temperatures below this take the likeliest token."""
LARGEST = 1e30
"""Temperatures and penalties are taken as within this and its inverse: beyond it float32 would have infinity and 0."""
SMALLEST_NOISE = 1e-30
"""0 / 0 would be NaN, and NaN would win."""


def sample(logits: torch.Tensor, chunks: Sequence[StepChunk], allowed: Sequence[Row | None] = ()) -> list[Sampled]:
    """Choose a token for every row of ``logits`` [chunks, vocabulary], each the last of a chunk that samples.

    ``allowed``: for a row the tokens that its mask lets come; None, or nothing at all: no mask.
    Log-probabilities are those before any change.
    """
    broken = [
        odd or nothing
        for odd, nothing in zip(
            (~(logits < float("inf"))).any(-1).tolist(), (logits.amax(-1) == float("-inf")).tolist(), strict=True
        )
    ]
    likeliest: list[int] = logits.argmax(-1).tolist()
    masks = allowed or [None] * len(chunks)
    out = []
    for index, chunk in enumerate(chunks):
        assert chunk.sampling is not None
        if broken[index]:
            out.append(Sampled(broken=True))
            continue
        token, count = likeliest[index], chunk.sampling.params.logprobs
        if not _takes_likeliest(chunk.sampling, masks[index], token):
            token = _choose(logits[index], chunk, chunk.sampling, masks[index])
        out.append(Sampled(token, None if count is None else token_logprobs(logits[index], token, count)))
    return out


def token_logprobs(logits: torch.Tensor, token: int, count: int) -> TokenLogprobs:
    """Log-probabilities of one row [vocabulary]: of ``token`` and of the ``count`` likeliest."""
    logprobs = logits.log_softmax(-1)
    chosen = logprobs[token]
    values, ids = logprobs.topk(min(count, len(logprobs)))
    rank = int((logprobs > chosen).sum()) + 1
    return TokenLogprobs(float(chosen), rank, ids.tolist(), values.tolist())


def adjust(logits: torch.Tensor, chunk: StepChunk, sampling: Sampling) -> None:
    """Apply penalties and bans to one row, in place."""
    params = sampling.params
    if params.repetition_penalty != 1.0:
        seen = torch.from_numpy(np.unique(chunk.tokens)).long()
        values, penalty = logits[seen], min(max(params.repetition_penalty, 1 / LARGEST), LARGEST)
        logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if params.presence_penalty or params.frequency_penalty:
        ids, counts = np.unique(chunk.tokens[chunk.num_prompt_tokens :], return_counts=True)
        penalties = params.presence_penalty + params.frequency_penalty * torch.from_numpy(counts).to(logits.dtype)
        logits[torch.from_numpy(ids).long()] -= penalties
    if sampling.banned:
        logits[list(sampling.banned)] = float("-inf")


def _takes_likeliest(sampling: Sampling, mask: Row | None, likeliest: int) -> bool:
    """Whether the likeliest token of a row as it comes from the model is the one to take: nothing need be changed then."""
    greedy = sampling.params.temperature < GREEDY_BELOW
    return greedy and not _changes_logits(sampling) and (mask is None or may_come(mask, likeliest))


def _choose(logits: torch.Tensor, chunk: StepChunk, sampling: Sampling, mask: Row | None) -> int:
    """The token of one row, which is not changed."""
    if mask is not None or _changes_logits(sampling):
        logits = logits.clone()
        adjust(logits, chunk, sampling)
    if mask is not None:
        _forbid(logits.numpy(), forbidden_tokens(mask, len(logits)))
    if sampling.params.temperature < GREEDY_BELOW:
        return int(logits.numpy().argmax())
    return _draw(logits, sampling, chunk.end)


def _forbid(logits: npt.NDArray[np.float32], forbidden: npt.NDArray[np.bool_]) -> None:
    """Leave one row the tokens that may come, in place: all alike where the model, or a ban, lets none of them come.

    By numpy, in this thread: torch would wake its others for a single row.
    """
    np.putmask(logits, forbidden, np.float32("-inf"))
    if not logits.max() > float("-inf"):
        np.putmask(logits, ~forbidden, np.float32(0.0))


def _changes_logits(sampling: Sampling) -> bool:
    params = sampling.params
    return bool(sampling.banned or params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0)


def _draw(logits: torch.Tensor, sampling: Sampling, position: int) -> int:
    """Draw the token at ``position`` of its continuation, after temperature, top-k, top-p and min-p."""
    params = sampling.params
    probabilities = (logits / min(params.temperature, LARGEST)).softmax(-1)
    if 0 < params.top_k < len(logits):
        least = probabilities.topk(params.top_k).values[-1]
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if params.top_p < 1.0:
        ordered, ids = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        total = ordered.sum()
        left_out = before >= params.top_p * total
        left_out[0] = False  # also where the product is too small for float32
        probabilities[ids[left_out]] = 0.0
    if params.min_p > 0.0:
        probabilities = probabilities.masked_fill(probabilities < params.min_p * probabilities.max(), 0.0)
    noise = _noise(sampling.seed, position, len(probabilities)).clamp_min_(SMALLEST_NOISE)
    return int((probabilities / noise).argmax())


def _noise(seed: int, position: int, count: int) -> torch.Tensor:
    """Exponential noise of length ``count``, float32: a function of its arguments. No state is kept between tokens."""
    numbers = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, position], np.uint64)))
    return torch.from_numpy(numbers.standard_exponential(count, np.float32))
