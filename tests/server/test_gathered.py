"""What is written together is sent together, and what the client has taken is known."""

import asyncio
from collections.abc import Callable
from typing import Any

from foreword.server.gathered import MOST, GatheredTransport


class Below(asyncio.Transport):
    """A transport that keeps what it is given; the last ``unread`` bytes have not been taken."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.unread = 0
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unread


def made() -> tuple[GatheredTransport, Below, list[Callable[[], None]]]:
    below, soon = Below(), list[Callable[[], None]]()
    return GatheredTransport(below, soon.append), below, soon


def test_what_is_written_in_one_turn_is_one_piece() -> None:
    out, below, soon = made()
    for piece in (b"head ", b"body ", b"end"):
        out.write(piece)
    assert (below.sent, out.get_write_buffer_size(), len(soon)) == ([], 13, 1)
    soon.pop()()
    out.write(b"again")
    soon.pop()()
    assert below.sent == [b"head body end", b"again"]
    assert out.get_write_buffer_size() == 0


def test_much_does_not_wait() -> None:
    out, below, soon = made()
    out.write(b"x" * MOST)
    out.write(b"y")
    assert [len(piece) for piece in below.sent] == [MOST + 1]
    soon.pop()()
    assert len(below.sent) == 1


def test_what_was_written_is_sent_before_the_end_but_not_where_all_is_dropped() -> None:
    out, below, soon = made()
    out.write(b"last words")
    out.close()
    assert (below.sent, below.closed) == ([b"last words"], True)
    soon.pop()()
    out, below, soon = made()
    out.write(b"dropped")
    out.abort()
    soon.pop()()
    assert below.sent == []


def test_it_knows_how_much_has_been_taken() -> None:
    out, below, soon = made()
    out.write(b"12345")
    assert out.taken == 0
    soon.pop()()
    below.unread = 2
    assert (out.taken, out.get_write_buffer_size()) == (3, 2)
