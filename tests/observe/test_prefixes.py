"""The sketch of prominent prefixes against exact counts."""

import bisect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreword.cache import pack_tokens
from foreword.observe.prefixes import Prefix, PrefixSketch
from replay.published import AGENT, CODING, CONVERSATION, needs_traces, prompts

EVERYTHING = 10**9


def whole(prefixes: tuple[Prefix, ...]) -> dict[int, bytes]:
    """Every edge's number with all tokens up to its end."""
    texts: dict[int, bytes] = {}
    for prefix in prefixes:
        texts[prefix.number] = (texts[prefix.parent] if prefix.parent is not None else b"") + prefix.tokens
    return texts


def check_counts(sketch: PrefixSketch, prompts: list[bytes]) -> int:
    """Every count is right within its own error; returns the largest error."""
    prefixes, ordered = sketch.snapshot(EVERYTHING), sorted(prompts)
    texts = whole(prefixes)
    for prefix in prefixes:
        text = texts[prefix.number]
        exact = bisect.bisect_left(ordered, text + b"\xff" * 8) - bisect.bisect_left(ordered, text)
        assert prefix.requests <= exact <= prefix.requests + prefix.error
        assert len(text) // 4 == prefix.end
    return max((prefix.error for prefix in prefixes), default=0)


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=80), st.sampled_from([8, 20, 1000])
)
def test_counts_are_right_within_their_error(prompts: list[list[int]], nodes: int) -> None:
    sketch, packed = PrefixSketch(max_nodes=nodes), [pack_tokens(tokens) for tokens in prompts]
    for tokens in packed:
        sketch.observe(b"", tokens)
    assert sketch.nodes <= nodes
    largest = check_counts(sketch, packed)
    assert largest <= 2 * len(packed) / nodes or nodes == 8
    assert largest == 0 or nodes < 1000


@needs_traces
@pytest.mark.parametrize("nodes", [256, 2048])
@pytest.mark.parametrize("trace", ["mooncake", "agent", "coding"])
def test_the_error_bound_holds_on_real_traces(trace: str, nodes: int) -> None:
    name, scale, count = {"mooncake": (CONVERSATION, 64, None), "agent": (AGENT, 16, None), "coding": (CODING, 64, 3000)}[
        trace
    ]
    packed = prompts(name, scale, count)
    sketch = PrefixSketch(nodes, max_tokens=EVERYTHING)
    for tokens in packed:
        sketch.observe(b"", tokens)
    assert sketch.nodes <= nodes
    assert check_counts(sketch, packed) <= 2 * len(packed) / nodes


def test_memory_is_bounded_in_nodes_and_tokens_and_the_prominent_prefix_stays() -> None:
    sketch = PrefixSketch(max_nodes=200, max_tokens=5_000)
    head = list(range(50))
    for number in range(50_000):
        sketch.observe(b"", pack_tokens([*head, 10_000 + number, *range(60)] if number % 2 else [20_000 + number, 7]))
    assert sketch.nodes <= 200
    assert sketch.tokens <= 5_000
    assert sketch.tokens == sum(len(prefix.tokens) // 4 for prefix in sketch.snapshot(EVERYTHING))
    top = max(sketch.snapshot(5), key=lambda prefix: prefix.requests)
    assert (top.start, top.end) == (0, 50)
    assert top.requests <= 25_000 <= top.requests + top.error
    assert top.error < 1000
    assert sketch.candidates <= 8 * 200


def test_what_was_saved_is_counted_where_it_was() -> None:
    sketch = PrefixSketch()
    sketch.observe(b"", pack_tokens([1, 2, 3, 4, 5]), cached=0, now=1.0, tenant="a")
    sketch.observe(b"", pack_tokens([1, 2, 3, 8, 9]), cached=3, now=2.0, tenant="b")
    sketch.observe(b"", pack_tokens([1, 2, 3, 8, 9]), cached=4, now=3.0, tenant="b")
    head, *tails = sorted(sketch.snapshot(), key=lambda prefix: (prefix.start, prefix.requests))
    assert (head.requests, head.hits, head.saved_tokens, head.saved_work) == (3, 2, 6, 2 * (0 + 1 + 2))
    assert (head.tenants, head.last_use) == (("a", "b"), 3.0)
    assert [(tail.requests, tail.hits, tail.saved_tokens, tail.saved_work) for tail in tails] == [(1, 0, 0, 0), (2, 0, 1, 3)]


def test_a_prompt_that_ends_inside_an_edge_cuts_it() -> None:
    sketch = PrefixSketch()
    sketch.observe(b"", pack_tokens([1, 2, 3, 4]))
    sketch.observe(b"", pack_tokens([1, 2]))
    assert [(p.start, p.end, p.requests) for p in sketch.snapshot()] == [(0, 2, 2), (2, 4, 1)]


def test_namespaces_do_not_meet() -> None:
    sketch = PrefixSketch()
    for namespace in (b"a", b"b"):
        sketch.observe(namespace, pack_tokens([1, 2]))
    assert [prefix.requests for prefix in sketch.snapshot()] == [1, 1]
    assert sketch.match(b"a", pack_tokens([1, 2, 3])) == 2
    assert sketch.match(b"c", pack_tokens([1, 2, 3])) == 0


def test_owners_meet_in_what_is_everyones_only() -> None:
    sketch = PrefixSketch()
    for owner in ("a", "b", "a"):
        sketch.observe(b"", pack_tokens([1, 2, 3, 4]), door=(2, owner))
    sketch.observe(b"", pack_tokens([1, 2, 3, 4]))
    shown = [(edge.start, edge.end, edge.requests) for edge in sketch.snapshot()]
    assert sorted(shown) == [(0, 2, 4), (2, 4, 1), (2, 4, 1), (2, 4, 2)]
    (head,) = [edge.number for edge in sketch.snapshot() if edge.start == 0]
    assert {edge.parent for edge in sketch.snapshot() if edge.start} == {head}


def test_what_is_one_owners_is_never_joined_with_what_is_everyones() -> None:
    sketch = PrefixSketch(max_nodes=6)
    for number in range(200):
        sketch.observe(b"", pack_tokens([number % 7, 1, 2, 3, number]), door=(2 + number % 2, str(number % 5)))
    assert sketch.nodes <= 6
    for edge in sketch.snapshot():
        assert edge.start < edge.end


def test_the_snapshot_keeps_the_way_to_what_it_shows() -> None:
    sketch = PrefixSketch()
    for tail in range(20):
        sketch.observe(b"", pack_tokens([1, 2, 100 + tail, *range(tail)]))
    shown = sketch.snapshot(limit=1)
    assert whole(shown)
    assert len(shown) <= 2


def test_the_edge_of_a_beginning() -> None:
    sketch = PrefixSketch()
    sketch.observe(b"", pack_tokens([1, 2, 3, 4]))
    sketch.observe(b"", pack_tokens([1, 2, 5, 6]))
    head, *tails = sorted(sketch.snapshot(), key=lambda prefix: prefix.start)
    assert sketch.edge_of(b"", pack_tokens([1, 2])) == sketch.edge_of(b"", pack_tokens([1])) == head.number
    assert sketch.edge_of(b"", pack_tokens([1, 2, 5])) in [tail.number for tail in tails]
    for unknown in ([], [2], [1, 2, 7], [1, 2, 3, 4, 5]):
        assert sketch.edge_of(b"", pack_tokens(unknown)) is None
    assert sketch.edge_of(b"other", pack_tokens([1])) is None


def test_a_million_distinct_prefixes_take_no_more_room_than_a_few() -> None:
    sketch = PrefixSketch(max_nodes=1000, max_tokens=20_000)
    head = pack_tokens(range(8))
    for number in range(1_000_000):
        sketch.observe(b"", head + number.to_bytes(4, "little"))
    assert sketch.nodes <= 1000
    assert sketch.tokens <= 20_000
    top = sketch.snapshot(1)[0]
    assert top.end == 8
    assert top.requests <= 1_000_000 <= top.requests + top.error
    assert top.error <= 2000
