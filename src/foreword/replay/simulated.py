"""A runner that computes nothing: a step takes the seconds that a cost model says, on a clock that only steps move."""

from collections.abc import Callable, Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from foreword.cache import CacheConfig, CopyBlock, PrefixCache
from foreword.engine.drafting import Drafting
from foreword.engine.engine import Engine
from foreword.engine.info import EngineInfo
from foreword.engine.model_text import ModelText
from foreword.engine.runner import Runner, Sampled, SampledToken, Step, StepChunk, in_turn
from foreword.events import EventRelay
from foreword.prompt.tokenizer import HubTokenizer
from foreword.replay.cache_loop import SPACE
from foreword.sched import Drafter, Scheduler, SchedulerConfig

LONGEST = 2**31 - 1  # tokens of a prompt and its answer; a token id is at most that, too


class VirtualClock:
    """Seconds that pass when somebody says so."""

    def __init__(self, now: float = 0.0):
        self.now = now

    def __call__(self) -> float:
        return self.now


def count_so_far(chunk: StepChunk) -> int:
    """The simplest deterministic token: how many there were before it."""
    return chunk.end


class NoWords(HubTokenizer):
    """A tokenizer whose tokens are no text: none is in its vocabulary."""

    def __init__(self) -> None:
        super().__init__(Tokenizer(WordLevel({"": 0}, unk_token="")))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Nothing."""
        del token_ids
        return ""


class SimulatedRunner:
    """A Runner without a model and without memory.

    clock, step_seconds
        What is moved by a step, and by how much.
    next_token
        The token that follows a chunk.
    """

    def __init__(
        self,
        clock: VirtualClock,
        step_seconds: Callable[[Step], float] = lambda _: 0.0,
        next_token: Callable[[StepChunk], int] = count_so_far,
    ):
        self.busy_seconds = 0.0
        self._clock = clock
        self._step_seconds = step_seconds
        self._next_token = next_token

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        """There is no memory: nothing to do."""

    def run(self, step: Step) -> list[Sampled]:
        """Let the step's seconds pass; every chunk that samples gets its token."""
        seconds = self._step_seconds(step)
        self.busy_seconds += seconds
        self._clock.now += seconds
        return [Sampled(in_turn(chunk, self._next)) for chunk in step.chunks]

    def _next(self, chunk: StepChunk) -> SampledToken:
        return SampledToken(self._next_token(chunk))


def simulated_engine(
    cache: CacheConfig,
    scheduler: SchedulerConfig,
    runner: Runner,
    clock: VirtualClock,
    events: EventRelay | None = None,
    drafters: Callable[[PrefixCache], Sequence[Drafter]] | None = None,
) -> Engine:
    """An engine around a runner without a model: token ids are any below 2**31, and are no words.

    ``drafters``: made over its cache; None: nothing is drafted.
    """
    info = EngineInfo(
        model_name="simulated",
        max_model_len=LONGEST,
        vocab_size=LONGEST + 1,
        num_blocks=cache.num_blocks,
        block_size=cache.block_size,
        bytes_per_token=0.0,
        max_num_seqs=scheduler.max_num_seqs,
        prefix_caching=cache.enable_prefix_caching,
        end_token_ids=frozenset(),
        fingerprint=SPACE.model,
    )
    events = EventRelay() if events is None else events
    own = PrefixCache(cache, events=events)
    drafting = None if drafters is None else Drafting(drafters(own), info.vocab_size, clock)
    text = ModelText(NoWords())
    return Engine(Scheduler(scheduler, own), runner, info, text, events=events, clock=clock, drafting=drafting)
