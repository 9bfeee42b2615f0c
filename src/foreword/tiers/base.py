"""What a store of KV is asked for: blocks by name, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from foreword.cache.namespace import ModelFingerprint

NAME_BYTES = 32
ROOT = bytes(NAME_BYTES)
"""The parent of a prompt's first block."""

Pieces = Sequence[memoryview]
"""Where a block's KV lie in memory: views of bytes (format "B", contiguous), in an order that is always the same."""


@dataclass(frozen=True, slots=True)
class BlockKey:
    """A block as stores know it. ``names.py`` makes them.

    name, parent
        32 bytes each: what this block is called, and the one before it in its prompt; ROOT for the first.
    tokens
        Its token ids, packed (``foreword.tokens``); compared when it is read.
    owner
        Whose it is, None for everyone's: whose key it is sealed with. A store never writes it down.
    """

    name: bytes
    parent: bytes
    tokens: bytes
    owner: str | None = None


class Outcome(StrEnum):
    """What became of a block that was asked for."""

    FOUND = "found"
    MISSING = "missing"
    CORRUPT = "corrupt"
    """It is there, but its checksum, its length or its seal is wrong."""
    OTHER = "other"
    """Under its name there are other tokens, or KV of another identity."""
    FAILED = "failed"
    """The store could not be read, or not in time."""


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """What a store holds and has done, in blocks and bytes. ``None`` where a store cannot say (it is shared, and remote).

    blocks, used_bytes, max_bytes
        What it holds, and may hold.
    written_bytes, copied_bytes
        What this process has written for others, and again to make room: write amplification is their sum over the first.
    written_today, daily_bytes
        What all that share the store have written since midnight UTC, and may write; None without a limit.
    refused
        Blocks that were not taken for lack of room or budget, since the store was opened.
    set_aside
        Files that could not be read and were renamed.
    failures, left_alone
        How often it could not be asked, or not in time, and whether nobody asks it at present.
    others
        Models other than the one it was opened for of which it has blocks, the latest first, as far as it can say.
    """

    blocks: int | None = None
    used_bytes: int | None = None
    max_bytes: int | None = None
    written_bytes: int = 0
    copied_bytes: int = 0
    written_today: int | None = None
    daily_bytes: int | None = None
    refused: int = 0
    set_aside: int = 0
    failures: int = 0
    left_alone: bool = False
    others: tuple[ModelFingerprint, ...] = ()


class BlockStore(Protocol):
    """Blocks of KV by name. May be used by several threads at once.

    What cannot be reached or written raises StoreFailed, which ``breaker.py`` turns into answers; nothing else is raised.
    """

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks are there, as far as can be told without reading them."""
        ...

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read blocks into memory; ``into`` has pieces for each key, writable. Undefined content unless FOUND."""
        ...

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write blocks that are not there yet; returns how many are there, or will be after ``flush``, of these.

        Those that are there have been used, which counts where a store makes room by itself.

        ``blocks`` are not read any more when it returns. Until ``keep_until`` (seconds since 1970) a store that makes room
        by itself lets others go first; one whose server makes room leaves that to the server.
        """
        ...

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks for good; returns how many were there."""
        ...

    def flush(self) -> None:
        """What was taken before can be read by everyone, and survives the process."""
        ...

    def usage(self) -> StoreUsage:
        """What it holds and has done."""
        ...

    def close(self) -> None:
        """Flush, and let go of all it holds open. Nothing may be called afterwards but ``close``."""
        ...
