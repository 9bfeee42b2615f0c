"""The masks of a step, made in a thread of their own while the step is computed."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from foreword.engine.runner import Step
from foreword.engine.token_mask import Row, TokenMask, row_length
from foreword.faults import NO_FAULTS

Made = Mapping[int, Row | BaseException]
"""By the place of a chunk: which tokens may come, or what was raised instead. Valid until the next step is begun."""


class StepMasks:
    """One thread, which begins with the first mask. Masks are native code that lets go of the interpreter's lock.

    vocabulary
        Tokens for which a model gives logits.
    """

    def __init__(self, vocabulary: int):
        self._words = row_length(vocabulary)
        self._rows: npt.NDArray[np.int32] = np.zeros((0, self._words), np.int32)
        self._worker: ThreadPoolExecutor | None = None

    def begin(self, step: Step) -> Future[Made] | None:
        """Have the masks of a step made; None if it has none."""
        masks = [(place, chunk.sampling.mask) for place, chunk in enumerate(step.chunks) if chunk.sampling is not None]
        wanted = {place: mask for place, mask in masks if mask is not None}
        if not wanted:
            return None
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-masks")
        return self._worker.submit(self._make, wanted)

    def _make(self, masks: Mapping[int, TokenMask]) -> Made:
        if len(masks) > len(self._rows):
            self._rows = np.zeros((len(masks), self._words), np.int32)
        made: dict[int, Row | BaseException] = {}
        for row, (place, mask) in zip(self._rows, masks.items(), strict=False):
            made[place] = row
            try:
                mask.allowed(row)
            except NO_FAULTS:
                raise
            except BaseException as error:  # native code raises what is no Exception
                made[place] = error
        return made
