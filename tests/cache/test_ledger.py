"""Every prompt token is accounted for exactly once, whatever happens to the request."""

import pytest

from foreword.cache import RequestLedger, Source
from foreword.errors import IntegrityError


def test_sources_add_up_to_the_prompt() -> None:
    ledger = RequestLedger(10)
    ledger.account(Source.CACHED, 0, 3)
    ledger.account(Source.SHARED, 3, 5)
    ledger.account(Source.COMPUTED, 5, 9)
    record = ledger.record()
    assert (record.cached, record.shared_in_flight, record.computed, record.unprocessed) == (3, 2, 4, 1)
    assert record.recomputed == 0


def test_generated_tokens_are_not_prompt_tokens() -> None:
    ledger = RequestLedger(4)
    ledger.account(Source.COMPUTED, 0, 4)
    ledger.account(Source.COMPUTED, 4, 9)
    assert ledger.record().computed == 4
    assert ledger.record().unprocessed == 0


def test_what_comes_again_after_preemption_is_no_hit() -> None:
    ledger = RequestLedger(10)
    ledger.account(Source.COMPUTED, 0, 10)
    ledger.account(Source.CACHED, 0, 6)  # admitted again
    ledger.account(Source.COMPUTED, 6, 12)
    record = ledger.record()
    assert (record.cached, record.computed, record.recomputed) == (0, 10, 4)


def test_a_chunk_over_the_high_mark_is_counted_on_both_sides() -> None:
    ledger = RequestLedger(10)
    ledger.account(Source.COMPUTED, 0, 4)
    ledger.account(Source.COMPUTED, 2, 7)
    record = ledger.record()
    assert (record.computed, record.recomputed, record.unprocessed) == (7, 2, 3)


def test_a_gap_is_a_fault() -> None:
    ledger = RequestLedger(10)
    with pytest.raises(IntegrityError, match="0 to 2 have no source"):
        ledger.account(Source.CACHED, 2, 4)


def test_a_sum_that_is_wrong_is_a_fault() -> None:
    ledger = RequestLedger(10)
    ledger.account(Source.COMPUTED, 0, 4)
    ledger._cached += 1
    with pytest.raises(IntegrityError, match="1 cached"):
        ledger.record()
