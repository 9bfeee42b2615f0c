import numpy as np

from foreword.cache import pack_tokens
from foreword.observe.hashing import PrefixHasher


def test_equal_prefixes_have_equal_hashes_and_others_do_not() -> None:
    hasher = PrefixHasher()
    a, b = hasher(b"n", pack_tokens([1, 2, 3, 4])), hasher(b"n", pack_tokens([1, 2, 9, 4]))
    assert a[:2].tolist() == b[:2].tolist()
    assert not set(a[2:].tolist()) & set(b[2:].tolist())
    assert not set(a.tolist()) & set(hasher(b"m", pack_tokens([1, 2, 3, 4])).tolist())


def test_a_longer_prompt_later_changes_nothing() -> None:
    hasher = PrefixHasher()
    before = hasher(b"", pack_tokens(range(10)))
    hasher(b"", pack_tokens(range(50_000)))
    assert (
        hasher(b"", pack_tokens(range(50_000)))[:10].tolist()
        == before.tolist()
        == PrefixHasher()(b"", pack_tokens(range(10))).tolist()
    )


def test_token_zero_counts() -> None:
    first, second = PrefixHasher()(b"", pack_tokens([0, 0]))
    assert first != second


def test_hashes_are_spread_evenly() -> None:
    hashes = PrefixHasher()(b"", pack_tokens(np.zeros(20_000, np.int32)))
    share = (hashes < np.uint64(2**64 // 16)).mean()
    assert abs(share - 1 / 16) < 0.01


def test_an_owners_part_has_hashes_of_its_own() -> None:
    hasher, tokens = PrefixHasher(), pack_tokens([1, 2, 3, 4])
    everyones, a, b = hasher(b"n", tokens), hasher(b"n", tokens, "a", 2), hasher(b"n", tokens, "b", 2)
    assert everyones[:2].tolist() == a[:2].tolist() == b[:2].tolist()
    assert len({*everyones.tolist(), *a.tolist(), *b.tolist()}) == 2 + 3 * 2
    assert hasher(b"n", tokens, "a", 2).tolist() == PrefixHasher()(b"n", tokens, "a", 2).tolist() == a.tolist()
    assert hasher(b"n", tokens, "a", 4).tolist() == everyones.tolist()
