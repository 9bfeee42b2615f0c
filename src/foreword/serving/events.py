"""What the metrics take from the engine's events: times between tokens, drafts, and lives of blocks."""

from collections.abc import Callable

from foreword.engine.info import EngineInfo
from foreword.events import Event, RequestFinished, StepFinished, StoreAnswered
from foreword.observe import BlockLives
from foreword.serving.metrics import Metrics


class EventMetrics:
    """A sink of an engine's events. Called by the engine's thread while it works: it computes next to nothing.

    now
        The engine's clock, in seconds.
    """

    def __init__(self, info: EngineInfo, now: Callable[[], float], metrics: Metrics):
        self._block_lives = BlockLives(info.num_blocks, info.block_size)
        self._now = now
        self._metrics = metrics

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, StepFinished):
            together = sum(draft.accepted for draft in event.drafts)
            self._metrics.token_gaps.step(event.generating, self._now(), together, event.gap)
            for draft in event.drafts:
                self._metrics.drafts.add(draft)
        elif not isinstance(event, RequestFinished | StoreAnswered):
            for life in self._block_lives(event, self._now()):
                self._metrics.block(life)
