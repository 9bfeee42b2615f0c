"""Every kind of trace, read from a few lines; and what is said of lines that are none."""

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from foreword.errors import TraceError
from foreword.replay.traces import SESSION_SECONDS, Trace, TraceRequest, read_trace
from foreword.tokens import common_with_edge, unpack_tokens


def read(*lines: object, block_tokens: int | None = None, packed: bool = False) -> Trace:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    return read_trace(io.BytesIO(gzip.compress(text) if packed else text), block_tokens)


def requests(*lines: object, block_tokens: int | None = None) -> list[TraceRequest]:
    return list(read(*lines, block_tokens=block_tokens).requests)


def mooncake(timestamp: float, length: int, ids: Sequence[int], output: int = 7) -> dict[str, object]:
    return {"timestamp": timestamp, "input_length": length, "output_length": output, "hash_ids": list(ids)}


def shared(a: bytes, b: bytes) -> int:
    return common_with_edge(a, 0, memoryview(b))


@pytest.mark.parametrize("packed", [False, True])
def test_equal_ids_are_equal_tokens_and_others_are_not(packed: bool) -> None:
    trace = read(mooncake(1000, 1100, [5, 6, 7]), mooncake(3500, 1500, [5, 6, 8]), packed=packed)
    first, second = trace.requests
    assert trace.kind == "mooncake"
    assert (first.arrival, second.arrival) == (0.0, 2.5)
    assert [len(each.prompt()) // 4 for each in (first, second)] == [1100, 1500]
    assert shared(first.prompt(), second.prompt()) == 1024
    assert shared(first.prompt(16), second.prompt(16)) == 64
    assert min(unpack_tokens(first.prompt())) >= 0


def test_a_column_tells_whether_conversations_go_on() -> None:
    first, second = requests({**mooncake(0, 200, [1, 2, 3, 4]), "conversation": "ended"}, mooncake(0, 200, [1, 2, 3, 5]))
    assert (first.conversation, second.conversation) == ("ended", None)
    with pytest.raises(TraceError, match="Line 1: 'conversation' is True"):
        requests({**mooncake(0, 200, [1, 2, 3, 4]), "conversation": True})


def test_the_size_of_blocks_is_told_from_the_lengths_or_said() -> None:
    assert requests(mooncake(0, 200, [1, 2, 3, 4]))[0].block_tokens == 64
    assert requests(mooncake(0, 513, [1, 2]))[0].block_tokens == 512
    assert requests(mooncake(0, 100, [1, 2]), block_tokens=50)[0].block_tokens == 50
    with pytest.raises(TraceError, match="--trace-block"):
        requests(mooncake(0, 100, range(40)))


def test_tokens_without_a_key_are_a_requests_own() -> None:
    lines = [mooncake(0, 512 * 3, [1, 2]) for _ in range(2)]
    first, second = requests(*lines, block_tokens=512)
    assert shared(first.prompt(), second.prompt()) == 1024
    assert len(first.prompt()) == 4 * 1536
    assert shared(first.answer(), second.answer()) == 0


def test_sessions_begin_one_after_another_and_are_merged_by_time() -> None:
    head = {"block": 64, "tool": 1, "sys": 1}
    one = {**head, "reqs": [[0.0, 130, 5, "n", 0, 1, [[1, 2]]], [1e3, 200, 6, "n", 0, 1, [[1, 2], [7, 7]]]]}
    two = {**head, "reqs": [{"t": 3.0, "sub": [[2.0, 130, 5, "n", 0, 1, [[1, 2]]]]}]}
    a, b, c = requests(one, two)
    assert [each.arrival for each in (a, b, c)] == [0, SESSION_SECONDS + 5, 1000]
    assert shared(a.prompt(), c.prompt()) == 128
    assert shared(a.prompt(), b.prompt()) == 0, "ids are a session's own"


def test_lengths_share_nothing() -> None:
    trace = read(
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:50.9951690,396,9",
    )
    first, second = trace.requests
    assert trace.kind == "lengths"
    assert second.arrival == pytest.approx(4.314579)
    assert [(each.prompt_tokens, each.output_tokens) for each in (first, second)] == [(374, 44), (396, 9)]
    assert shared(first.prompt(), second.prompt()) == 0


def test_a_short_prompt_keeps_a_token_when_scaled_and_an_empty_one_none() -> None:
    one, none = requests(mooncake(0, 3, [1]), mooncake(0, 0, []), block_tokens=512)
    assert [each.length(16) for each in (one, none)] == [1, 0]
    assert none.prompt() == b""


def test_what_lies_out_of_order_is_put_in_order() -> None:
    found = requests(mooncake(9000, 10, [1]), mooncake(7000, 10, [2]), mooncake(8000, 10, [3]), block_tokens=512)
    assert [each.arrival for each in found] == [0.0, 1.0, 2.0]


class Endless(io.RawIOBase):
    """A trace that never ends."""

    line = b'{"timestamp": 0, "input_length": 40, "output_length": 1, "hash_ids": [1]}\n'

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[: len(self.line)] = self.line
        return len(self.line)


def test_it_is_read_as_it_is_used() -> None:
    found: Iterator[TraceRequest] = read_trace(io.BufferedReader(Endless()), 64).requests
    assert len([next(found) for _ in range(10)]) == 10


SESSION = {"block": 64, "reqs": [[0, 1, 1, [[1, 1]]]]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        (["hello"], r"Line 1 .*'hello'.*hash_ids.*foreword serve --trace"),
        ([{"prompt": "x"}], "Line 1 is of no trace"),
        (["", mooncake(0, 1, [1]), "{"], "Line 3 is no JSON"),
        ([mooncake(0, 1, [1]), "[1]"], "Line 2 is JSON, but no object"),
        ([mooncake(0, 1, [1]), {"hash_ids": []}], "Line 2: 'timestamp' is None"),
        ([mooncake(float("nan"), 1, [1])], "Line 1: 'timestamp' is nan"),
        ([mooncake(0, -1, [1])], "'input_length' is -1"),
        ([{**mooncake(0, 1, [1]), "output_length": "7"}], "'output_length' is '7'"),
        ([mooncake(0, 1, [-1])], "Line 1: ids of blocks"),
        ([{**mooncake(0, 1, []), "hash_ids": [[1], 2]}], "Line 1: ids of blocks"),
        ([{**SESSION, "block": 0}], "'block' is 0"),
        ([{**SESSION, "reqs": [[1, 2]]}], r"Line 1: a request is \[t"),
        ([{**SESSION, "reqs": [[0, 1, -1, [[1, 1]]]]}], "'answer' is -1"),
        ([{**SESSION, "reqs": [[0, 1, 1, [[1, 10**12]]]]}], "1000000000000 blocks of 64 tokens are more than a prompt of 1"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46,1"], "Line 2 is not TIMESTAMP"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "yesterday,1,2"], "Line 2 is not TIMESTAMP"),
        ([{"format": "foreword-trace", "version": 9}], "version 9"),
    ],
)
def test_a_bad_line_is_named(lines: list[object], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        requests(*lines)


def test_damaged_or_foreign_bytes_are_named() -> None:
    whole = gzip.compress(b"".join(json.dumps(mooncake(n, 30, [n])).encode() + b"\n" for n in range(5000)))
    with pytest.raises(TraceError, match="gzip data is damaged or cut off"):
        list(read_trace(io.BytesIO(whole[: len(whole) // 2]), 64).requests)
    with pytest.raises(TraceError, match="no UTF-8 text"):
        read_trace(io.BytesIO(b"\x80\x81\x82"))


def test_tokens_are_the_same_in_every_process() -> None:
    """Figures of a trace can be compared between machines."""
    tokens = np.frombuffer(requests(mooncake(0, 1000, [1, 2]))[0].prompt(), np.int32)
    assert tokens[:3].tolist() == [726207246, 2053425131, 1233159368]
