"""The masks of a step, made in a thread of their own while the step is computed."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from foreword.engine.runner import Step
from foreword.engine.token_mask import TokenMask, forbidden_tokens, row_length

Forbidden = npt.NDArray[np.bool_]
"""For each token of the vocabulary, whether it may not come."""


class StepMasks:
    """One thread, which begins with the first mask. Masks are native code that lets go of the interpreter's lock.

    vocabulary
        Tokens for which a model gives logits.
    """

    def __init__(self, vocabulary: int):
        self._vocabulary = vocabulary
        self._worker: ThreadPoolExecutor | None = None

    def begin(self, step: Step) -> dict[int, Future[Forbidden]]:
        """Have the masks of a step made. By the place of a chunk; one without a mask is not there."""
        masks = [(place, chunk.sampling.mask) for place, chunk in enumerate(step.chunks) if chunk.sampling is not None]
        wanted = {place: mask for place, mask in masks if mask is not None}
        if not wanted:
            return {}
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-masks")
        return {place: self._worker.submit(partial(_make, mask, self._vocabulary)) for place, mask in wanted.items()}


def _make(mask: TokenMask, vocabulary: int) -> Forbidden:
    row = np.zeros(row_length(vocabulary), np.int32)
    mask.allowed(row)
    return forbidden_tokens(row, vocabulary)
