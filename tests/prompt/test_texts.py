"""What two texts begin and end with in common."""

from hypothesis import given
from hypothesis import strategies as st

from foreword.prompt.texts import common_prefix, common_suffix

words = st.text("ab ", max_size=12)


@given(words, words)
def test_common_prefix_and_suffix(one: str, two: str) -> None:
    head = common_prefix(one, two)
    assert one[:head] == two[:head]
    assert one[head : head + 1] != two[head : head + 1] or head == min(len(one), len(two))
    tail = common_suffix(one, two, head)
    assert tail <= min(len(one), len(two)) - head
    assert one[len(one) - tail :] == two[len(two) - tail :]
