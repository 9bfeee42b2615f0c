"""Blocks in Valkey or Redis: a hash for each, in parts of at most 1 MiB; many to a round trip, no waiting beyond a bound."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from foreword.errors import StoreFailed
from foreword.lazy import extra_needed
from foreword.tiers.base import BlockKey, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.pieces import gather
from foreword.tiers.value_format import open_value, value_bytes, value_pieces

with extra_needed("A store in Valkey", "tiers"):
    from valkey import Valkey
    from valkey.exceptions import ValkeyError

PREFIX = b"foreword:kv1:"
PART_BYTES = 2**20
"""Of one value that is sent: longer ones hold up other clients of the server."""
ROUND_TRIP_BYTES = 8 * 2**20
ANSWER_SECONDS = 1.0
"""How long an answer may let us wait, and a connection."""


class ValkeyStore:
    """A BlockStore on a server of Valkey or Redis; the server makes room (``maxmemory-policy allkeys-lru``)."""

    def __init__(self, url: str, identity: Identity, answer_seconds: float = ANSWER_SECONDS):
        """``url``: valkey://[user:password@]host[:port][/database], or rediss:// for TLS. Connects when first used.

        ValueError for a URL, or an option in it, that no connection takes.
        """
        self._identity = identity
        self._written = 0
        self._client: Any = Valkey.from_url(url, socket_timeout=answer_seconds, socket_connect_timeout=answer_seconds)
        pool = self._client.connection_pool
        try:
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValkeyError) as error:
            raise ValueError(str(error)) from error

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks are there: one round trip."""
        return [bool(found) for found in self._ask([("HEXISTS", PREFIX + name, 0) for name in names])]

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read blocks, some MiB in a round trip."""
        sizes = [value_bytes(key, pieces) for key, pieces in zip(keys, into, strict=True)]
        outcomes: list[Outcome] = []
        for some in _round_trips(sizes):
            commands = [("HMGET", PREFIX + keys[number].name, *_part_numbers(sizes[number])) for number in some]
            for number, parts in zip(some, self._ask(commands), strict=True):
                outcomes.append(self._open(keys[number], into[number], parts))
        damaged = [key.name for key, outcome in zip(keys, outcomes, strict=True) if outcome is Outcome.CORRUPT]
        if damaged:
            self.delete_many(damaged)  # so that they are written again
        return outcomes

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write those that are not there; ``keep_until`` is up to the server."""
        del keep_until
        there = self.exists_many([key.name for key in keys])
        new = [number for number, found in enumerate(there) if not found]
        sizes = [value_bytes(keys[number], blocks[number]) for number in new]
        for some in _round_trips(sizes):
            commands: list[tuple[Any, ...]] = []
            for at in some:
                value = memoryview(gather(value_pieces(keys[new[at]], blocks[new[at]], self._identity.digest)))
                for part in reversed(_part_numbers(sizes[at])):  # the first part comes last: where it is, all are
                    content = value[part * PART_BYTES : (part + 1) * PART_BYTES]
                    commands.append(("HSET", PREFIX + keys[new[at]].name, part, content))
            self._ask(commands)
            self._written += sum(sizes[at] for at in some)
        return len(keys)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove blocks."""
        return sum(self._ask([("UNLINK", PREFIX + name) for name in set(names)]))

    def flush(self) -> None:
        """Nothing is left to do: the server has answered. Whether it survives a crash is up to the server."""

    def usage(self) -> StoreUsage:
        """What this process has written."""
        return StoreUsage(written_bytes=self._written)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _open(self, key: BlockKey, into: Pieces, parts: Sequence[bytes | None]) -> Outcome:
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            return Outcome.MISSING
        return open_value(memoryview(b"".join(there)), key, into, self._identity.digest)

    def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not commands:
            return []
        with self._failures():
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute())

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (ValkeyError, OSError) as error:
            raise StoreFailed(f"Valkey failed: {error}.") from error


def _part_numbers(size: int) -> range:
    return range(-(-size // PART_BYTES))


def _round_trips(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of values, as many at a time as a round trip takes."""
    some: list[int] = []
    total = 0
    for number, size in enumerate(sizes):
        if some and total + size > ROUND_TRIP_BYTES:
            yield some
            some, total = [], 0
        some.append(number)
        total += size
    if some:
        yield some
