"""What an audit keeps of a log for its later passes: the very requests; without room for them the log is read again."""

import tempfile
from typing import Any

import pytest

from audit.generator import encoded, planted
from foreword.audit import ByteTokens, Report, audit
from foreword.audit.kept_log import KeptLog
from foreword.audit.request import MESSAGE, SYSTEM, LoggedPiece, LoggedRequest, ReportedUsage
from foreword.prompt.prices import PriceTable

REQUESTS = 40


def turn(number: int) -> LoggedRequest:
    """A request whose text was partly sent before; half a surrogate pair is text too."""
    pieces = [LoggedPiece(SYSTEM, "text", "", 0, 0, "rules \ud800 " * 20)]
    pieces += [LoggedPiece(MESSAGE, "text", "user", i, 0, f"turn {i}", 300.0 if i % 2 else None) for i in range(number)]
    usage = ReportedUsage(2**70, number) if number % 3 else None
    return LoggedRequest(number, "openai", "m", tuple(pieces), time=1.5, usage=usage, ignored=("FW1",), batch=True, kind="k")


@pytest.mark.parametrize("part_bytes", [1, 5_000, 2**20])
def test_requests_come_back_as_they_were(part_bytes: int) -> None:
    sent = [turn(number) for number in range(1, REQUESTS)]
    with KeptLog(part_bytes) as kept:
        assert list(kept.keep(iter(sent))) == sent
        assert kept.complete
        assert list(kept.requests()) == sent
        assert list(kept.requests()) == sent
        assert list(kept.keep(sent[:3])) == sent[:3]
        assert list(kept.requests()) == sent[:3]
    assert not kept.complete


def test_what_was_sent_before_is_one_object() -> None:
    with KeptLog() as kept:
        first, second = kept.keep([turn(4), turn(5)])
        assert all(one is two for one, two in zip(first.pieces, second.pieces, strict=False))
        first, second = kept.requests()
        assert all(one is two for one, two in zip(first.pieces, second.pieces, strict=False))


def test_a_log_that_is_not_read_to_its_end_is_not_complete() -> None:
    with KeptLog() as kept:
        next(kept.keep([turn(1), turn(2)]))
        assert not kept.complete


def audited(readings: list[str]) -> Report:
    log = encoded(planted("FW101").faulty)

    def lines(purpose: str) -> Any:
        readings.append(purpose)
        return log

    return audit(lines, ByteTokens(), PriceTable.built_in())


def test_every_later_reading_tells_how_far_it_is() -> None:
    told: list[tuple[str, int, int]] = []
    log = encoded(planted("FW101").faulty)
    report = audit(lambda _purpose: log, ByteTokens(), PriceTable.built_in(), progress=lambda *so_far: told.append(so_far))
    assert len(told) == report.passes - 1 > 1
    assert told[-1] == ("measuring the fixes", 0, len(log))


class Full:
    """A file on a disk that is full after some writes."""

    def __init__(self, writes: int):
        self.left = writes

    def write(self, data: bytes) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return len(data)

    def flush(self) -> None:
        self.write(b"")

    def close(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("writes", [None, 0, 3])
def test_without_room_the_log_is_read_again(writes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[str] = []
    usual = audited(readings)
    assert len(readings) == 1
    assert usual.passes > 1

    def no_room(**_options: Any) -> Any:
        if writes is None:
            raise OSError(28, "No space left on device")
        return Full(writes)

    monkeypatch.setattr(tempfile, "TemporaryFile", no_room)
    readings.clear()
    assert audited(readings) == usual
    assert len(readings) == usual.passes
