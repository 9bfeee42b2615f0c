"""Actions: what the cache asks of whoever owns the KV memory. It decides, and the runner carries out.

An action is a frozen record; ``CacheAction`` is the union of them all. One that is added is a record here, a place in the
cache that adds it, and a handler at the engine.

A copy is done before the step that follows. Loads and stores (``LoadBlocks``, ``StoreBlocks``) take as long as they take:
the cache holds their blocks until it is told how far they came (``PrefixCache.arrived``, ``PrefixCache.put_away``).
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from foreword.account import MissReason, Source
from foreword.cache.namespace import Namespace, PrivatePart
from foreword.cache.pool import Blocks
from foreword.tokens import TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class CopyBlock:
    """Copy the KV of the first ``tokens`` tokens of block ``source`` to block ``target``, in all layers."""

    source: int
    target: int
    tokens: int


class Stored(NamedTuple):
    """What a lower tier has of a prompt: its tokens before ``until``, whole blocks, from where the entry before it ends.

    ``why_not``: why they are not to be loaded (``load_slower``: computing them takes less time; ``stored_other_identity``:
    they are another model's, and of no use); None: they are.
    """

    until: int
    source: Source
    why_not: MissReason | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Transfer:
    """Whole blocks of a prompt on their way between KV memory and a lower tier.

    namespace, private
        Whose the prompt is: its tree, and from where it is its owner's alone.
    tokens
        The prompt's packed tokens up to the end of the last block.
    start
        Position of the first block.
    blocks
        Ids of the blocks, in order. They are held until the transfer has ended; only who loads them writes in them.
    """

    namespace: Namespace
    private: PrivatePart | None
    tokens: bytes
    start: int
    blocks: Blocks

    @property
    def until(self) -> int:
        """Position behind the last block."""
        return len(self.tokens) // TOKEN_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class LoadBlocks(Transfer):
    """Bring the KV of some blocks from where ``stored`` says that it is, in ascending order."""

    stored: tuple[Stored, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StoreBlocks(Transfer):
    """Give the KV of some blocks, which is readable, to a lower tier. ``keep_seconds``: how long marks ask for it."""

    keep_seconds: float = 0.0


CacheAction: TypeAlias = CopyBlock | LoadBlocks | StoreBlocks


class Actions:
    """Actions that wait to be carried out, in the order in which they have to be, before the next step computes."""

    def __init__(self) -> None:
        self._waiting: list[CacheAction] = []

    def add(self, action: CacheAction) -> None:
        """Put an action behind those that wait."""
        self._waiting.append(action)

    def withdraw(self, action: CacheAction) -> None:
        """Take back an action that has not been taken yet; nothing happens if it has."""
        self._waiting = [waiting for waiting in self._waiting if waiting is not action]

    def take(self) -> tuple[CacheAction, ...]:
        """All that wait, for the step that is about to run; they are the caller's to carry out."""
        if not self._waiting:
            return ()
        taken, self._waiting = tuple(self._waiting), []
        return taken
