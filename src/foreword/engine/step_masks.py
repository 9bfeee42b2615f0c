"""The masks of a step, made in a thread of their own while the step is computed.

But not those of rows that take the likeliest token: they are made when it turns out that it may not come, which is seldom,
and a grammar tells of one token much sooner than of all.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from foreword.engine.runner import Step, StepChunk
from foreword.engine.sampler import takes_likeliest
from foreword.engine.token_mask import WORD, Row, row_length
from foreword.faults import NO_FAULTS

Made = Mapping[int, Sequence[Row] | BaseException]
"""By the place of a chunk: which tokens may come behind its last known row, then behind each of its draft's as far as the
form lets that come; or what was raised instead of the first. Valid until the next step is begun."""


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
        wanted: dict[int, StepChunk] = {}
        for place, chunk in enumerate(step.chunks):
            sampling = chunk.sampling
            if sampling is not None and sampling.mask is not None and not takes_likeliest(sampling):
                wanted[place] = chunk
        if not wanted:
            return None
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreword-masks")
        return self._worker.submit(self._make, wanted)

    def _make(self, chunks: Mapping[int, StepChunk]) -> Made:
        rows = sum(1 + len(chunk.draft) for chunk in chunks.values())
        if rows > len(self._rows):
            self._rows = np.zeros((rows, self._words), np.int32)
        made: dict[int, Sequence[Row] | BaseException] = {}
        free = iter(self._rows)
        for place, chunk in chunks.items():
            own: list[Row] = []
            try:
                for row in _rows(chunk, free):
                    own.append(row)
            except NO_FAULTS:
                raise
            except BaseException as error:  # native code raises what is no Exception
                made[place] = own or error
            else:
                made[place] = own
        return made


def _rows(chunk: StepChunk, free: Iterator[Row]) -> Iterator[Row]:
    """What may come behind the known tokens of a chunk, and behind each of its draft that may come itself."""
    assert chunk.sampling is not None and chunk.sampling.mask is not None
    mask = chunk.sampling.mask
    row = next(free)
    mask.allowed(row)
    yield row
    for token in chunk.draft:
        if not row[token // WORD] >> token % WORD & 1:
            return
        mask = mask.fork()
        if not mask.advance(token):
            return
        row = next(free)
        mask.allowed(row)
        yield row
