"""Every prompt token is accounted for exactly once, whatever happens to the request."""

import pytest

from foreword.account import Account, Source
from foreword.cache import RequestLedger
from foreword.errors import IntegrityError


def test_sources_add_up_to_the_prompt() -> None:
    ledger = RequestLedger(10)
    ledger.enter(Source.CACHED, 0, 3)
    ledger.enter(Source.SHARED_IN_FLIGHT, 3, 5)
    ledger.enter(Source.COMPUTED, 5, 9)
    account = ledger.account()
    assert (account.cached, account.shared_in_flight, account.computed, account.unprocessed) == (3, 2, 4, 1)
    assert account.recomputed == 0


def test_generated_tokens_are_not_prompt_tokens() -> None:
    ledger = RequestLedger(4)
    ledger.enter(Source.COMPUTED, 0, 4)
    ledger.enter(Source.COMPUTED, 4, 9)
    assert ledger.account().computed == 4
    assert ledger.account().unprocessed == 0


def test_what_comes_again_after_preemption_is_no_hit() -> None:
    ledger = RequestLedger(10)
    ledger.enter(Source.COMPUTED, 0, 10)
    ledger.enter(Source.CACHED, 0, 6)  # admitted again
    ledger.enter(Source.COMPUTED, 6, 12)
    account = ledger.account()
    assert (account.cached, account.computed, account.recomputed) == (0, 10, 4)


def test_a_chunk_over_the_high_mark_is_counted_on_both_sides() -> None:
    ledger = RequestLedger(10)
    ledger.enter(Source.COMPUTED, 0, 4)
    ledger.enter(Source.COMPUTED, 2, 7)
    account = ledger.account()
    assert (account.computed, account.recomputed, account.unprocessed) == (7, 2, 3)


def test_a_gap_is_a_fault() -> None:
    ledger = RequestLedger(10)
    with pytest.raises(IntegrityError, match="0 to 2 have no source"):
        ledger.enter(Source.CACHED, 2, 4)


def test_more_tokens_with_a_source_than_the_prompt_has_are_a_fault() -> None:
    with pytest.raises(IntegrityError, match="2 cached \\+ 9 computed"):
        Account(10, {Source.CACHED: 2, Source.COMPUTED: 9})
    with pytest.raises(IntegrityError, match="-1 cached"):
        Account(10, {Source.CACHED: -1})


def test_a_source_is_one_member() -> None:
    """All that is told of an account comes from the mapping, so a new source needs no other place."""
    account = Account(10, {Source.CACHED: 3, Source.SHARED_IN_FLIGHT: 2, Source.COMPUTED: 4}, recomputed=1)
    assert (account.reused, account.processed, account.unprocessed) == (5, 9, 1)
    assert list(account.in_tokens()) == ["prompt_tokens", *Source, "unprocessed", "recomputed", "drafted", "accepted"]
