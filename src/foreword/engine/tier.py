"""What the engine asks of tiers below its KV memory: what is stored of a prompt, and transfers. Imports no torch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from foreword.account import MissReason
from foreword.cache import LoadBlocks, Query, StoreBlocks, Stored
from foreword.engine.tier_state import TierState


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a look-up.

    number
        Of the look-up that it answers.
    stored
        What is there, in ascending order.
    """

    number: int
    stored: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load has ended: the KV of its tokens before position ``until`` is in its blocks. ``reason``: why not of all."""

    load: LoadBlocks
    until: int
    reason: MissReason = MissReason.LOAD_FAILED


@dataclass(frozen=True, slots=True)
class PutAway:
    """A store has ended: a lower tier has its tokens before position ``until``."""

    store: StoreBlocks
    until: int


TierNews: TypeAlias = Found | Loaded | PutAway


class Tier(Protocol):
    """Tiers below the KV memory. Called from the engine's thread; nothing in it waits, and nothing raises.

    ``state`` may be called from any thread.
    """

    def look_up(self, number: int, query: Query) -> None:
        """Ask what is stored of a prompt; the answer is news, and has this number."""
        ...

    def begin(self, transfer: LoadBlocks | StoreBlocks) -> None:
        """Begin a transfer; its end is news."""
        ...

    def news(self) -> Sequence[TierNews]:
        """What has come since somebody asked last."""
        ...

    def awaited(self) -> bool:
        """Whether a look-up or a transfer is under way, or its news not taken: a step without work is a wait then, no fault.

        A store counts, too: until it has ended its blocks are held, and a request may have no room without them.
        """
        ...

    def giving_way(self) -> AbstractContextManager[None]:
        """While a step is computed: what is stored meanwhile is to slow it down by as good as nothing."""
        ...

    def computed(self, tokens: int, seconds: float) -> None:
        """A step has computed so many prompt tokens: with that a load's time is compared."""
        ...

    def state(self) -> TierState:
        """The stores in figures."""
        ...

    def on_arrival(self, ring: Callable[[], None]) -> None:
        """Call ``ring``, from any thread, whenever there is news. A later call replaces the one before."""
        ...

    def close(self, seconds: float, stores: Sequence[StoreBlocks] = ()) -> None:
        """End: give stores that are under way, and these last ones, at most so long, and let go of all that is open."""
        ...
