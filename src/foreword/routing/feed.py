"""The events of one replica: in their order, without doubles, and what to do where some are missing or wrong."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

import numpy as np

from foreword.cache.kv_events import MEMORY
from foreword.routing.config import RouterConfig
from foreword.routing.index import PrefixIndex
from foreword.routing.records import BlockHashes, Cleared, Measured, Removed, ReplicaEvent, Stored

Batch = tuple[int, Sequence[ReplicaEvent]]


class Feed:
    """Applies batches of one replica's events to the index. Nothing in them can change another replica's part of it.

    wants_snapshot
        Why the part has to be built anew; None: it is complete. Until then batches are applied as they come, for what they
        say is true, and kept, to be applied again on top of the snapshot.
    counts
        ``batches``, ``doubled``, ``gaps``, ``unknown_parents``, ``unknown_removals``, ``garbage``, ``snapshots``.
    """

    def __init__(
        self,
        replica: int,
        memory: PrefixIndex,
        lower: PrefixIndex,
        lower_place: int,
        shares: bool,
        config: RouterConfig,
        measured: Callable[[float], None] = lambda _: None,
    ):
        """``lower_place``: as whom ``lower`` knows its lower tier; if it ``shares`` a store, others too. ``measured``: told
        how many tokens a second it loads from there."""
        self.wants_snapshot: str | None = None
        self.counts: Counter[str] = Counter()
        self._replica = replica
        self._memory = memory
        self._lower = lower
        self._lower_place = lower_place
        self._shares = shares
        self._measured = measured
        self._next = 0
        self._kept: deque[Batch] = deque()
        self._most = config.kept_batches
        self._most_stored = config.stored_blocks
        lower.doubt(lower_place)  # a tier may drop a block and keep those behind it

    def apply(self, sequence: int, events: Sequence[ReplicaEvent]) -> bool:
        """Take a batch; False if it was had before. ``sequence`` counts batches from 0; from 0 again after a restart."""
        if sequence == 0 < self._next:
            self._want(f"its batches are counted from 0 again, after {self._next}")
            self._next = 0
            self._kept.clear()
        if sequence < self._next:
            self.counts["doubled"] += 1
            return False
        if sequence > self._next:
            self.counts["gaps"] += 1
            self._want(f"batches {self._next} to {sequence - 1} are missing")
        self._take(sequence, events)
        if self.wants_snapshot is not None:
            self._kept.append((sequence, events))
            if len(self._kept) > self._most:
                self._kept.popleft()
        return True

    def snapshot(self, sequence: int, events: Sequence[ReplicaEvent]) -> bool:
        """Build the part anew: ``events`` store all that the replica has after batch ``sequence`` (-1: before the first).

        False, and nothing changes, if batches that came after it have been applied and are not kept.
        """
        behind = [batch for batch in self._kept if batch[0] > sequence]
        if len(behind) < self._next - 1 - sequence:
            self._want(f"its snapshot of batch {sequence} lacks batches that are not kept")
            return False
        self.counts["snapshots"] += 1
        self.wants_snapshot = None
        self._kept.clear()
        self._memory.clear(self._replica)
        if not self._shares:  # else others have told of it too
            self._clear_lower()
        self._apply_events(events)
        self._next = sequence + 1
        for number, batch in behind:
            if number > self._next:
                self._want(f"batches {self._next} to {number - 1} are missing behind its snapshot")
            self._next = number + 1
            self._apply_events(batch)
        return True

    def believe(self, hashes: BlockHashes) -> None:
        """Take it that the replica has these blocks, though it has not said so."""
        self._want("it tells of no event, though it computes")
        self._memory.store(self._replica, hashes)

    def _take(self, sequence: int, events: Sequence[ReplicaEvent]) -> None:
        self.counts["batches"] += 1
        self._next = sequence + 1
        self._apply_events(events)

    def _want(self, why: str) -> None:
        self._memory.doubt(self._replica)
        if self.wants_snapshot is None:
            self.wants_snapshot = why

    def _apply_events(self, events: Sequence[ReplicaEvent]) -> None:
        run: list[Stored] = []  # events that store into memory, one behind the other
        for event in events:
            match event:
                case Stored(hashes, medium=medium) if _are_hashes(hashes):
                    if medium == MEMORY:
                        run.append(event)
                    else:
                        self._store_lower(hashes)
                    continue
            self._store(run)
            run = []
            match event:
                case Removed(hashes, medium) if _are_hashes(hashes):
                    self._remove(hashes, medium)
                case Cleared():
                    self._memory.clear(self._replica)
                case Measured(load_rate) if 0 < load_rate < float("inf"):
                    self._measured(load_rate)
                case _:
                    self.counts["garbage"] += 1
                    self._want(f"an event cannot be read: {str(event)[:80]}")
        self._store(run)

    def _store(self, run: Sequence[Stored]) -> None:
        """Store what several events tell of, at once."""
        if not run:
            return
        hashes = run[0].hashes if len(run) == 1 else np.concatenate([event.hashes for event in run])
        parents = np.array([event.parent for event in run if event.parent is not None], np.uint64)
        if len(parents):
            unknown = parents[~self._memory.has(self._replica, parents)]
            if len(unknown) and not np.isin(unknown, hashes).all():
                self.counts["unknown_parents"] += len(unknown)
                self._want(f"block {unknown[0]}, behind which it stored others, is not known of it")
        self._memory.store(self._replica, hashes)

    def _store_lower(self, hashes: BlockHashes) -> None:
        self._lower.store(self._lower_place, hashes)
        if self._lower.blocks(self._lower_place) > self._most_stored:
            self._clear_lower()

    def _clear_lower(self) -> None:
        self._lower.clear(self._lower_place)
        self._lower.doubt(self._lower_place)

    def _remove(self, hashes: BlockHashes, medium: str) -> None:
        if medium != MEMORY:
            self._lower.remove(self._lower_place, hashes)
            return
        unknown = self._memory.remove(self._replica, hashes)
        if unknown:
            self.counts["unknown_removals"] += unknown
            self._want(f"{unknown} blocks that it removed were not known of it")


def _are_hashes(hashes: object) -> bool:
    """Whether something is what blocks are named by; of an event that came from outside nothing is known."""
    return isinstance(hashes, np.ndarray) and hashes.dtype == np.uint64 and hashes.ndim == 1 and bool(hashes.all())
