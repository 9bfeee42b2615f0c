"""Where two prompts that have parted go on alike."""

from foreword.cache import pack_tokens
from foreword.observe.alignment import Meeting, find_tokens, meet


def test_two_prompts_meet_after_the_value_that_differs() -> None:
    tail = list(range(100, 200))
    old, new = pack_tokens([1, 2, 3, 7, 7, *tail]), pack_tokens([1, 2, 3, 8, *tail])
    assert meet(old, new, 3) == Meeting(old_skip=2, new_skip=1, alike=100)


def test_the_nearest_meeting_is_taken() -> None:
    """The run comes twice in the old prompt; the first place costs fewer tokens."""
    run = list(range(100, 120))
    old, new = pack_tokens([1, 5, *run, 6, *run]), pack_tokens([1, 9, *run])
    assert meet(old, new, 1) == Meeting(1, 1, 20)


def test_no_meeting_outside_the_window_or_of_a_few_tokens() -> None:
    tail = list(range(100, 200))
    assert meet(pack_tokens([1, *range(1000, 1065), *tail]), pack_tokens([1, *tail]), 1) is None
    assert meet(pack_tokens([1, *range(1000, 1064), *tail]), pack_tokens([1, *tail]), 1) == Meeting(64, 0, 100)
    assert meet(pack_tokens([1, 2, *tail[:15]]), pack_tokens([1, 3, *tail[:15]]), 1) is None


def test_tokens_are_found_at_token_boundaries_only() -> None:
    tokens = pack_tokens([0x01000000, 0x00000002, 5])  # the bytes of token 1 stand across the first two
    assert find_tokens(tokens, pack_tokens([1])) is None
    assert find_tokens(tokens, pack_tokens([5])) == 2
    assert find_tokens(pack_tokens([5, 1, 5]), pack_tokens([5]), start=1) == 2
