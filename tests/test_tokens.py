"""Packing, and finding the first difference: a wrong answer here is a wrong hit."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.cache import pack_tokens, unpack_tokens
from foreword.errors import PromptError
from foreword.tokens import TOKEN_BYTES, VECTOR_BYTES, common_tokens, common_with_edge, shared_from, shared_tokens


def test_pack_is_little_endian_int32() -> None:
    assert pack_tokens([1, 258]) == b"\x01\0\0\0\x02\x01\0\0"
    assert pack_tokens([]) == b""
    assert unpack_tokens(pack_tokens([0, 2**31 - 1])) == [0, 2**31 - 1]
    assert pack_tokens(np.array([7, 8], np.uint16)) == pack_tokens([7, 8])


@pytest.mark.parametrize("ids", [[-1], [2**31], [2**70], [1.5], ["a"], [[1, 2]], [[1], [1, 2]], [True], 5])
def test_what_is_no_token_is_refused(ids: object) -> None:
    with pytest.raises(PromptError):
        pack_tokens(ids)  # type: ignore[arg-type]


def test_the_message_names_the_bad_id() -> None:
    with pytest.raises(PromptError, match="-3"):
        pack_tokens([1, -3])


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 1000, 5000, 20_000])
def test_first_difference_at_every_kind_of_place(length: int) -> None:
    ids = list(range(length))
    for place in {0, 1, length // 3, length // 2, length - 2, length - 1} & set(range(length)):
        for change in (1, 1 << 8, 1 << 24):  # in the lowest and in the highest byte of the token
            other = ids.copy()
            other[place] ^= change
            assert common_tokens(pack_tokens(ids), pack_tokens(other)) == place
            assert common_with_edge(pack_tokens([9, *ids]), TOKEN_BYTES, memoryview(pack_tokens(other))) == place


def test_first_difference_against_a_plain_loop() -> None:
    rng = random.Random(0)
    for _ in range(100):
        edge = [rng.randrange(2) for _ in range(rng.randrange(1, VECTOR_BYTES // 2))]
        cut = rng.randrange(len(edge) + 1)
        query = edge[:cut] + [rng.randrange(3) for _ in range(rng.randrange(40))]
        expected = next((at for at, (a, b) in enumerate(zip(edge, query, strict=False)) if a != b), None)
        if expected is None:
            expected = min(len(edge), len(query))
        assert common_with_edge(pack_tokens(query), 0, memoryview(pack_tokens(edge))) == expected
        assert common_tokens(pack_tokens(query), pack_tokens(edge)) == expected


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
