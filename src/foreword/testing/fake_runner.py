"""A runner for tests, and an engine around it: deterministic tokens, KV that are hashes, faults on demand; no model."""

from collections.abc import Callable, Sequence

from foreword.cache import CacheConfig, CopyBlock, PrefixCache
from foreword.engine.engine import Engine
from foreword.engine.runner import Sampled, Step, StepChunk
from foreword.events import EventRelay
from foreword.replay.simulated import SimulatedRunner, VirtualClock, count_so_far, simulated_engine
from foreword.sched import Drafter, SchedulerConfig
from foreword.testing.hash_kv import FAILED, HashKV, prefix_hashes

Shape = tuple[str, int, int, bool]
"""A chunk of a step: the request's id, start, end, and whether a token was sampled after it."""


class FakeRunner:
    """A Runner whose KV of a token is a hash of all tokens up to it: whoever reads another prefix's gets an AssertionError.

    steps
        The chunks of every step that was asked for.
    clock, step_seconds, next_token
        As with ``foreword.replay.SimulatedRunner``: what time passes, and which token follows.
    """

    def __init__(
        self,
        cache: CacheConfig,
        clock: VirtualClock | None = None,
        step_seconds: Callable[[Step], float] = lambda _: 0.0,
        next_token: Callable[[StepChunk], int] = count_so_far,
    ):
        self.steps: list[tuple[Shape, ...]] = []
        self.clock = clock or VirtualClock()
        self._kv = HashKV(cache.num_blocks, cache.block_size)
        self._tokens = SimulatedRunner(self.clock, step_seconds, next_token)
        self._faults: list[BaseException] = []
        self._broken: set[str] = set()

    def raise_next(self, *errors: BaseException) -> None:
        """The next steps, one for each error, write nonsense into their blocks and raise it."""
        self._faults += errors

    def break_logits(self, request_id: str) -> None:
        """The next token of a request cannot be sampled: its logits are not numbers."""
        self._broken.add(request_id)

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        """Copy KV from block to block."""
        self._kv.copy(actions)

    def run(self, step: Step) -> list[Sampled]:
        """Write the chunks' KV, check all that they read, and give every chunk that samples its token."""
        self.steps.append(tuple((each.request_id, each.start, each.end, each.sampling is not None) for each in step.chunks))
        hashes = [prefix_hashes(b"", chunk.after(len(chunk.draft)).tokens[: chunk.end].tolist()) for chunk in step.chunks]
        for chunk, values in zip(step.chunks, hashes, strict=True):
            written = [FAILED] * (chunk.end - chunk.start) if self._faults else values[chunk.start :]
            self._kv.write(chunk.blocks, chunk.start, written)
        if self._faults:
            raise self._faults.pop(0)
        for chunk, values in zip(step.chunks, hashes, strict=True):
            self._kv.check(chunk.blocks, values)
        return [self._unless_broken(chunk, one) for chunk, one in zip(step.chunks, self._tokens.run(step), strict=True)]

    def _unless_broken(self, chunk: StepChunk, sampled: Sampled) -> Sampled:
        if chunk.sampling is None or chunk.request_id not in self._broken:
            return sampled
        self._broken.remove(chunk.request_id)
        return Sampled(broken=True)


def fake_engine(
    cache: CacheConfig | None = None,
    scheduler: SchedulerConfig | None = None,
    runner: FakeRunner | None = None,
    events: EventRelay | None = None,
    drafters: Callable[[PrefixCache], Sequence[Drafter]] | None = None,
) -> Engine:
    """An engine around a fake runner (a fresh one, if none is given), by its clock, with drafters over its cache."""
    cache = cache or CacheConfig(num_blocks=64, block_size=4)
    runner = runner or FakeRunner(cache)
    return simulated_engine(cache, scheduler or SchedulerConfig(), runner, runner.clock, events, drafters)
