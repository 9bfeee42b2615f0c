"""The masks of a step, made in a thread of their own while the step is computed.

But not those of rows that take the likeliest token: they are made when it turns out that it may not come, which is seldom,
and a grammar tells of one token much sooner than of all.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from foreword.engine.runner import Step
from foreword.engine.sampler import takes_likeliest
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
        """Have those masks of a step made that will be needed; None if there are none."""
        wanted: dict[int, TokenMask] = {}
        for place, chunk in enumerate(step.chunks):
            sampling = chunk.sampling
            if sampling is not None and sampling.mask is not None and not takes_likeliest(sampling):
                wanted[place] = sampling.mask
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
