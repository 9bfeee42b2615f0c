"""A store that forgets the oldest, and keeps tenants apart."""

from foreword.serving.remembered import MAX_BYTES, Remembered


def test_each_tenant_sees_its_own() -> None:
    store: Remembered[str] = Remembered(10)
    store.add("alice", "a", "hers", 1)
    store.add("bob", "a", "his", 1)
    assert (store.get("alice", "a"), store.get("bob", "a"), store.get("eve", "a")) == ("hers", "his", None)
    assert store.remove("alice", "a")
    assert not store.remove("alice", "a")
    assert (store.get("alice", "a"), store.get("bob", "a")) == (None, "his")


def test_the_oldest_go_where_there_are_too_many() -> None:
    store: Remembered[int] = Remembered(2)
    for number in range(3):
        store.add("t", str(number), number, 1)
    assert [store.get("t", str(number)) for number in range(3)] == [None, 1, 2]
    store.add("t", "1", 10, 1)  # an entry that is given anew is the youngest
    store.add("t", "3", 3, 1)
    assert [store.get("t", name) for name in "123"] == [10, None, 3]


def test_the_oldest_go_where_they_are_too_large() -> None:
    store: Remembered[int] = Remembered(10)
    half = MAX_BYTES // 2
    for number in range(3):
        store.add("t", str(number), number, half)
    assert [store.get("t", str(number)) for number in range(3)] == [None, 1, 2]
    store.remove("t", "1")
    store.add("t", "3", 3, half)
    assert [store.get("t", str(number)) for number in range(4)] == [None, None, 2, 3]
    store.add("t", "4", 4, MAX_BYTES + 1)
    assert [store.get("t", str(number)) for number in range(5)] == [None] * 5, "one that is too large by itself is not kept"
