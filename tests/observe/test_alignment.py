from hypothesis import given
from hypothesis import strategies as st

from foreword.cache import pack_tokens
from foreword.observe.alignment import Meeting, find_tokens, meet
from foreword.tokens import shared_from, shared_tokens

TOKENS = st.lists(st.sampled_from([0, 1, 256, 2**31 - 1]), max_size=200)


@given(TOKENS, TOKENS, st.integers(0, 5))
def test_shared_tokens_are_those_that_are_equal(a: list[int], b: list[int], skip: int) -> None:
    expected = next((n for n, (x, y) in enumerate(zip(a[skip:], b, strict=False)) if x != y), min(len(a[skip:]), len(b)))
    assert shared_from(pack_tokens(a), 4 * min(skip, len(a)), pack_tokens(b)) == expected


def test_shared_tokens_of_long_prompts() -> None:
    a = list(range(5000))
    for at in (0, 1, 63, 64, 65, 4000, 4999):
        b = a.copy()
        b[at] = 9999
        assert shared_tokens(pack_tokens(a), pack_tokens(b)) == at


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
