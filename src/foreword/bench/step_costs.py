"""What an engine's steps cost, fitted while workloads run: ``foreword replay --costs`` predicts times from it."""

from dataclasses import asdict

from foreword.events import Event, StepFinished
from foreword.observe.savings import CostFit


class StepCosts:
    """A sink of an engine's events that fits a cost model to its steps; the last thousand or so count."""

    def __init__(self) -> None:
        self._fit = CostFit()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, StepFinished):
            self._fit.observe(event.seconds, event.spans, event.generating_rows)

    def as_json(self) -> dict[str, float]:
        """The cost model, in seconds, for a file."""
        return asdict(self._fit.model())
