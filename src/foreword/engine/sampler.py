"""From logits to tokens: each row by its own parameters, and never dependent on other rows.

By numpy, in this thread: torch would wake its others for a single row.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from foreword.engine.runner import Sampled, SampledToken, Sampling, StepChunk, TokenLogprobs
from foreword.engine.token_mask import Row, TokenMask, forbidden_tokens, row_length
from foreword.faults import NO_FAULTS
from foreword.sampling_params import SamplingParams

GREEDY_BELOW = 1e-5
"""Temperatures below this take the likeliest token."""
LARGEST = 1e30
"""Temperatures and penalties are taken as within this and its inverse: beyond it float32 would have infinity and 0."""
SMALLEST_NOISE = np.float32(1e-30)
"""0 / 0 would be NaN, and NaN would win."""
LOWERED = 2.0**-8
"""By how much the bound on shares is lowered each time; 1/256 of the likeliest token's is often enough."""


def sample(logits: torch.Tensor, chunk: StepChunk, allowed: Sequence[Row] = ()) -> Sampled:
    """Choose what comes behind a chunk, by the logits [rows, vocabulary] of its last known token and the first of its draft.

    Without ``chunk.sampling`` they are only looked at. They are not changed. Raises what its mask raises.

    ``allowed``: what its mask lets come behind these rows, as far as that is known already. Log-probabilities are those
    before any change. Where a drafted row is broken, or the mask raises, nothing more is sampled: it is computed again as a
    known one.
    """
    first = _sample_row(logits[0], chunk.after(0), None if chunk.sampling is None else chunk.sampling.mask, allowed[:1])
    if first is None or chunk.sampling is None:
        return Sampled(broken=first is None)
    tokens, mask = [first], chunk.sampling.mask
    try:
        for place, token in enumerate(chunk.draft[: len(logits) - 1], start=1):
            if tokens[-1].token != token:
                break
            if mask is not None:
                mask = mask.fork()
                if not mask.advance(token):
                    break
            found = _sample_row(logits[place], chunk.after(place), mask, allowed[place : place + 1])
            if found is None:
                break
            tokens.append(found)
    except NO_FAULTS:
        raise
    except BaseException:  # native code raises what is no Exception
        pass
    return Sampled(tuple(tokens))


def _sample_row(
    logits: torch.Tensor, chunk: StepChunk, mask: TokenMask | None, allowed: Sequence[Row]
) -> SampledToken | None:
    """The token behind a chunk without a draft, by its last row [vocabulary]; None if that is broken. ``mask`` is its own,
    and the only one of ``allowed`` what it lets come, if that is known. Any token if none is to be sampled."""
    numbers = logits.numpy()
    token, sampling = int(numbers.argmax()), chunk.sampling
    if not -math.inf < numbers[token] < math.inf:  # NaN counts as the largest
        return None
    if sampling is None:
        return SampledToken(token)
    if not takes_likeliest(sampling) or not (mask is None or mask.takes(token)):
        row = allowed[0] if allowed else None
        if mask is not None and row is None:
            row = np.zeros(row_length(len(numbers)), np.int32)
            mask.allowed(row)
        token = _choose(numbers, chunk, sampling, row)
    count = sampling.params.logprobs
    return SampledToken(token, None if count is None else token_logprobs(logits, token, count))


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


def takes_likeliest(sampling: Sampling) -> bool:
    """Whether the likeliest token of a row as it comes from the model is the one to take, where the mask takes it."""
    return sampling.params.temperature < GREEDY_BELOW and not _changes_logits(sampling)


def _choose(logits: npt.NDArray[np.float32], chunk: StepChunk, sampling: Sampling, allowed: Row | None) -> int:
    """The token of one row, which is not changed. ``allowed``: what its mask lets come; None: it has none."""
    if allowed is not None or _changes_logits(sampling):
        logits = logits.copy()
        adjust(torch.from_numpy(logits), chunk, sampling)
    if allowed is not None:
        forbidden = forbidden_tokens(allowed, len(logits))
        np.copyto(logits, -math.inf, where=forbidden)
        if not logits.max() > -math.inf:  # the model, or a ban, lets none of them come: they are all alike
            np.copyto(logits, 0.0, where=~forbidden)
    greedy = sampling.params.temperature < GREEDY_BELOW
    return int(logits.argmax()) if greedy else _draw(logits, sampling, chunk.end)


def _changes_logits(sampling: Sampling) -> bool:
    params = sampling.params
    return bool(sampling.banned or params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0)


def _draw(logits: npt.NDArray[np.float32], sampling: Sampling, position: int) -> int:
    """Draw the token at ``position`` of its continuation, after temperature, top-k, top-p and min-p: the one whose
    probability is the largest over its noise."""
    params, highest = sampling.params, logits.max()
    if not highest > -math.inf:
        return int(logits.argmax())  # all that the model lets come is banned
    with np.errstate(over="ignore"):
        shares = np.exp((logits - highest) / np.float32(min(params.temperature, LARGEST)))  # of the likeliest one's
    noise = np.maximum(_noise(sampling.seed, position, len(shares)), SMALLEST_NOISE)
    kept = _kept(shares, params)
    if kept is None:
        return int((shares / noise).argmax())
    return int(kept[(shares[kept] / noise[kept]).argmax()])


def _kept(shares: npt.NDArray[np.float32], params: SamplingParams) -> npt.NDArray[np.intp] | None:
    """The tokens that top-k, top-p and min-p leave; None: all. ``shares``: in proportion to probabilities, 1 the largest."""
    least = 0.0
    if 0 < params.top_k < len(shares):
        least = float(torch.from_numpy(shares).topk(params.top_k).values[-1])
    if params.top_p < 1.0:
        kept = _likeliest(shares, least, params.top_p)
        return kept[shares[kept] >= params.min_p]
    least = max(least, params.min_p)
    return np.flatnonzero(shares >= least) if least > 0.0 else None


def _likeliest(shares: npt.NDArray[np.float32], least: float, top_p: float) -> npt.NDArray[np.intp]:
    """Of the tokens with a share of ``least`` or more the likeliest, until they have ``top_p`` of all; one at least.

    Few of them are put in order: those above a bound that is lowered until they have so much.
    """
    wanted = top_p * shares[shares >= least].sum(dtype=np.float64)
    bound = 1.0
    while True:
        bound *= LOWERED
        ids = np.flatnonzero(shares >= max(least, bound))
        if shares[ids].sum(dtype=np.float64) > wanted or bound == 0.0:
            break
    ids = ids[np.argsort(-shares[ids], kind="stable")]
    before = np.cumsum(shares[ids], dtype=np.float64) - shares[ids]
    return ids[: max(1, int(np.searchsorted(before, wanted)))]


def _noise(seed: int, position: int, count: int) -> npt.NDArray[np.float32]:
    """Exponential noise of length ``count``, float32: a function of its arguments. No state is kept between tokens."""
    numbers = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, position], np.uint64)))
    return numbers.standard_exponential(count, np.float32)
