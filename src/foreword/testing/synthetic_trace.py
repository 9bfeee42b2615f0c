"""Made-up traces in Mooncake's form, made while they are read: of any length, in constant memory."""

import io
import json
import random
from collections.abc import Iterator
from typing import Any


def trace_lines(count: int, seed: int = 0, blocks: int = 24, gap_ms: float = 100.0) -> Iterator[dict[str, Any]]:
    """Requests behind one of eight heads, with blocks of their own after it; every fourth goes on from an earlier one."""
    choose, fresh, recent = random.Random(seed), 1000, [[head] for head in range(8)]
    for number in range(count):
        head = choose.choice(recent)[: choose.randrange(1, blocks)]
        own = choose.randrange(1, 1 + blocks - len(head))
        ids = [*head, *range(fresh, fresh + own)]
        fresh += own
        if number % 4 == 0:
            recent[choose.randrange(8)] = ids
        length = 512 * len(ids) - choose.randrange(400)
        yield {
            "timestamp": number * gap_ms,
            "input_length": length,
            "output_length": choose.randrange(1, 30),
            "hash_ids": ids,
        }


class _Stream(io.RawIOBase):
    """Lines as a binary stream."""

    def __init__(self, requests: Iterator[dict[str, Any]]):
        self._requests = requests
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some bytes more; none at the end."""
        if not self._rest:
            self._rest = b"".join(
                json.dumps(each).encode() + b"\n" for each, _ in zip(self._requests, range(50), strict=False)
            )
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def trace_stream(count: int, **options: Any) -> io.BufferedReader:
    """A trace of ``count`` requests, made while it is read."""
    return io.BufferedReader(_Stream(trace_lines(count, **options)))
