"""The provider's cache by its rules, in small exact cases: marks, minimum, look-back, TTL, requests in flight."""

from typing import Any

import pytest

from foreword.audit.provider_cache import CacheModel, Outcome
from foreword.audit.provider_terms import Terms
from foreword.audit.request import MESSAGE, SYSTEM, LoggedPiece, LoggedRequest
from foreword.audit.tokens import ByteTokens
from foreword.prompt.prices import PriceTable

PRICE = PriceTable.built_in().find("claude-sonnet-4-5")
MARKED = Terms(minimum=10, lifetime=300, longer_lifetime=3600, step=1, price=PRICE)
AUTOMATIC = Terms(minimum=10, lifetime=300, longer_lifetime=None, step=4, price=None)


def piece(number: int, tokens: int, mark: float | None = None, section: str = MESSAGE) -> LoggedPiece:
    """A piece of so many tokens, its head included."""
    return LoggedPiece(section, "text", "user", number, 0, chr(97 + number) * 4 * (tokens - 1), mark)


def request(at: float | None, *pieces: LoggedPiece, **more: Any) -> LoggedRequest:
    return LoggedRequest(1, "p", "m", pieces, time=at, first_token=2.0, **more)


def play(terms: Terms, *requests: LoggedRequest) -> list[Outcome]:
    caches = CacheModel(1_000_000, 1.0)
    return [caches.feed(one, ByteTokens().encode(one), terms) for one in requests]


def marked(at: float | None, *pieces: LoggedPiece) -> LoggedRequest:
    return request(at, *pieces, marked_only=True)


def test_a_mark_is_written_then_read() -> None:
    head, one, two = piece(0, 20, 300), piece(1, 5), piece(2, 6)
    first, second = play(MARKED, marked(0, head, one), marked(10, head, two))
    assert (first.prompt, first.seen, first.cached, first.written) == (25, 0, 0, 20)
    assert (second.prompt, second.seen, second.cached, second.written) == (26, 21, 20, 0)
    assert first.dollars == pytest.approx((20 * 3.75 + 5 * 3.0) / 1e6)
    assert second.dollars == pytest.approx((20 * 0.30 + 6 * 3.0) / 1e6)


def test_without_a_mark_nothing_is_cached() -> None:
    outcomes = play(MARKED, marked(0, piece(0, 20)), marked(10, piece(0, 20)))
    assert [(outcome.cached, outcome.written) for outcome in outcomes] == [(0, 0), (0, 0)]
    assert outcomes[1].seen == 19  # one token is always computed


def test_a_mark_below_the_minimum_does_nothing() -> None:
    head = piece(0, 9, 300)
    assert [(o.cached, o.written) for o in play(MARKED, marked(0, head, piece(1, 30)), marked(5, head))] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("blocks", "cached"), [(18, 20), (19, 20), (20, 0)])
def test_an_entry_is_looked_for_in_twenty_blocks(blocks: int, cached: int) -> None:
    head = piece(0, 20)
    added = [piece(i, 2) for i in range(1, blocks + 1)]
    added[-1] = added[-1]._replace(mark=300)
    _, second = play(MARKED, marked(0, head._replace(mark=300)), marked(10, head, *added))
    assert second.cached == cached


@pytest.mark.parametrize(("pause", "cached", "expired"), [(299, 20, 0), (301, 0, 20)])
def test_an_entry_lives_until_its_ttl_after_the_last_use(pause: float, cached: int, expired: int) -> None:
    head = piece(0, 20, 300)
    _, _, third = play(MARKED, marked(0, head), marked(250, head, piece(1, 3)), marked(250 + pause, head, piece(2, 3)))
    assert (third.cached, third.expired) == (cached, expired)


def test_a_longer_ttl_is_charged_apart() -> None:
    head, body = piece(0, 20, 3600), piece(1, 15, 300)
    first, second = play(MARKED, marked(0, head, body), marked(3000, head, body))
    assert (first.written_long, first.written) == (20, 15)
    assert (second.cached, second.written, second.expired) == (20, 15, 15)


def test_what_is_being_written_cannot_be_read_yet() -> None:
    head = piece(0, 20, 300)
    outcomes = play(MARKED, marked(0, head, piece(1, 3)), marked(1.9, head, piece(2, 3)), marked(2.0, head, piece(3, 3)))
    assert [(o.seen, o.cached, o.in_flight, o.written) for o in outcomes] == [(0, 0, 0, 20), (21, 0, 20, 20), (21, 20, 0, 0)]


def test_other_text_before_the_mark_is_another_entry() -> None:
    system = piece(5, 4, section=SYSTEM)
    _, second = play(MARKED, marked(0, piece(0, 20, 300)), marked(10, system, piece(0, 20, 300)))
    assert (second.cached, second.written) == (0, 24)


def test_automatic_caching_needs_no_marks_but_a_minimum_and_steps() -> None:
    long, short = piece(0, 20), piece(1, 8)
    outcomes = play(
        AUTOMATIC,
        request(0, long, piece(2, 5)),
        request(10, long, piece(3, 5)),
        request(20, short),
        request(30, short, piece(4, 9)),
    )
    assert [(o.seen, o.cached) for o in outcomes] == [(0, 0), (21, 20), (1, 0), (8, 0)]


def test_automatic_caching_expires_and_takes_time() -> None:
    prompts = [request(at, piece(0, 20), piece(int(at) % 7 + 1, 4)) for at in (0, 1, 310, 320)]
    outcomes = play(AUTOMATIC, *prompts)
    assert [(o.cached, o.expired, o.in_flight) for o in outcomes] == [(0, 0, 0), (0, 0, 20), (0, 20, 0), (20, 0, 0)]


def test_scopes_and_models_do_not_share() -> None:
    prompt = piece(0, 20)
    apart = [request(0, prompt), request(10, prompt, scope="other"), request(20, prompt)]
    assert [outcome.seen for outcome in play(AUTOMATIC, *apart)] == [0, 0, 19]
