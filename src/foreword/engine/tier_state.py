"""What the stores below an engine hold, and what has become of blocks on their way: plain values. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from foreword.account import MissReason, Source
from foreword.tiers.base import StoreUsage


@dataclass(frozen=True, slots=True)
class StoreState:
    """One store in figures.

    source
        What tokens that come from it are called in accounts.
    usage
        What it says of itself, a few seconds ago at most.
    loaded_blocks, loaded_bytes
        What it has brought into memory since the engine was made.
    lost_loads
        Loads that ended before all had come, by the reason.
    load_rate
        Tokens a second that it was measured to bring; None: it has brought nothing.
    """

    source: Source
    usage: StoreUsage
    loaded_blocks: int
    loaded_bytes: int
    lost_loads: Mapping[MissReason, int]
    load_rate: float | None = None


@dataclass(frozen=True, slots=True)
class TierState:
    """All stores below an engine.

    queued_blocks, dropped_blocks
        Blocks that wait to be stored now, and those so far that found no place in the queue.
    """

    stores: tuple[StoreState, ...]
    queued_blocks: int
    dropped_blocks: int
