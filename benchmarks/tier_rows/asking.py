"""An engine that is asked one request at a time, and processes of their own for what has to begin anew."""

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from foreword.account import Account
from foreword.engine.build import make_parts
from foreword.engine.config import EngineConfig
from foreword.engine.engine import StepState
from foreword.engine.request import EngineRequest
from foreword.engine.tier import TierNews
from foreword.sampling_params import SamplingParams
from foreword.tokens import pack_tokens

MIB = 2**20
CLOSE_SECONDS = 120.0
SMALL_MEMORY = 64 * MIB

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Answer(NamedTuple):
    """Seconds from submission to the first token, and where the prompt's tokens came from."""

    seconds: float
    account: Account


class Asked:
    """An engine over a model with so much memory for KV, and its parts. ``options``: of EngineConfig."""

    def __init__(self, model: str, memory_bytes: int, store: Path | None = None, **options: Any):
        config = EngineConfig(
            model=model, kv_cache_memory_bytes=memory_bytes, store=str(store) if store else None, **options
        )
        begun = time.perf_counter()
        self.parts = make_parts(config)
        self.engine = self.parts.engine()
        self.seconds_to_ready = time.perf_counter() - begun
        self._bell = threading.Event()
        self.engine.on_arrival(self._bell.set)

    @property
    def vocabulary(self) -> int:
        """Token ids of the model."""
        return self.parts.info.vocab_size

    @property
    def block_size(self) -> int:
        """Tokens in a block."""
        return self.parts.info.block_size

    @property
    def piece_sizes(self) -> list[int]:
        """Bytes of a block's pieces in memory."""
        return [len(piece) for piece in self.parts.runner.memory.pieces(0)]

    def news(self) -> Sequence[TierNews]:
        """What the tier says next, without a step; waits for it."""
        assert self.parts.tier is not None
        while not (come := self.parts.tier.news()):
            self._bell.wait()
            self._bell.clear()
        return come

    def step(self) -> None:
        """One pass of the loop; sleeps while the tier is awaited."""
        self._bell.clear()
        outcome = self.engine.step()
        for generation in outcome.news:
            if generation.error is not None:
                raise generation.error
        if outcome.state is StepState.AWAITING:
            self._bell.wait()

    def ask(self, tokens: bytes, answer: int = 1) -> Answer:
        """Packed tokens in; the rest of the answer is made outside the clock."""
        params = SamplingParams(temperature=0, max_tokens=answer, ignore_eos=True)
        begun = time.perf_counter()
        generation = self.engine.add_request(EngineRequest(tokens, params, stream=True))
        while not generation.num_output_tokens:
            self.step()
        seconds = time.perf_counter() - begun
        while not generation.finished:
            self.step()
        return Answer(seconds, generation.output().account)

    def close(self) -> None:
        """The end of a service: all that is cached is stored."""
        self.engine.close(CLOSE_SECONDS)


def in_a_process(work: Callable[Given, Result], *args: Given.args, **options: Given.kwargs) -> Result:
    """What a function of a module returns that runs in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **options).result()


def token_bytes(model: str) -> int:
    """Bytes of KV that a token of a model takes."""
    return int(Asked(model, SMALL_MEMORY, self_test=False).parts.info.bytes_per_token)


def random_tokens(seed: int, count: int, vocabulary: int) -> bytes:
    """Packed tokens, none of them special."""
    draw = random.Random(seed)
    return pack_tokens([draw.randrange(16, vocabulary) for _ in range(count)])


def forget_pages(folder: Path) -> None:
    """Have the system read the folder's packs from the disk when they are read next."""
    for file in folder.glob("*.pack"):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
