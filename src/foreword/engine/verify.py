"""What the engine asks of whoever checks the cache while it serves. Imports no torch."""

from dataclasses import dataclass
from typing import Protocol

from foreword.sched import Request


@dataclass(frozen=True)
class VerifyReport:
    """Running totals. ``skipped``: hits chosen for a check for which there was no room, or whose check raised."""

    checked: int = 0
    skipped: int = 0
    values_compared: int = 0
    values_differing: int = 0
    logits_differing: int = 0


class Verifier(Protocol):
    """Checks requests whose prompts have just been computed. What it does is not seen by the requests."""

    def check(self, request: Request, place: int, now: float) -> None:
        """Perhaps check a running request: chunk number ``place`` of the step just committed ended its prompt."""
        ...

    def report(self) -> VerifyReport:
        """What was found so far."""
        ...
