"""What the engine asks of whoever brings blocks from elsewhere: a lower tier, another node. Imports no torch."""

from collections.abc import Callable
from typing import Protocol


class Arrivals(Protocol):
    """Things under way to the engine. While there are some, a step without work is a wait and no fault."""

    def awaited(self) -> bool:
        """Whether something is still under way."""
        ...

    def on_arrival(self, ring: Callable[[], None]) -> None:
        """Call ``ring``, from any thread, whenever something has arrived. A later call replaces the one before."""
        ...
