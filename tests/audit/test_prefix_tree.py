"""The tree against the plainest model: every earlier prompt, compared one by one."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foreword.audit.prefix_tree import NODE_BYTES, PrefixTree, Visit

LOTS = 1_000_000


def pack(*tokens: int) -> bytes:
    return np.asarray(tokens, np.int32).tobytes()


prompts = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), max_size=25)


@given(prompts, st.lists(st.sampled_from("ab"), min_size=25, max_size=25))
def test_seen_and_nearest_are_those_of_the_longest_common_prefix(given_prompts: list[list[int]], names: list[str]) -> None:
    tree = PrefixTree(LOTS)
    earlier: list[tuple[str, list[int]]] = []
    for number, (prompt, name) in enumerate(zip(given_prompts, names, strict=False)):
        visit = tree.visit(name, pack(*prompt), number, 0.0, math.inf, 0.0)
        shared = [common(prompt, other) if name == scope else 0 for scope, other in earlier]
        longest = max(shared, default=0)
        assert visit.seen == visit.kept == visit.readable == longest
        last = max((i for i, length in enumerate(shared) if length == longest), default=None) if longest else None
        assert visit.nearest == last
        earlier.append((name, prompt))


@given(prompts, st.integers(1, 5))
def test_kept_and_readable_against_the_clock(given_prompts: list[list[int]], ttl: int) -> None:
    """One request a second; a prefix lives ``ttl`` seconds after its last use and can be read after two seconds."""
    tree = PrefixTree(LOTS)
    used: dict[tuple[int, ...], tuple[int, int]] = {}  # prefix → last use, readable from
    for now, prompt in enumerate(given_prompts):
        visit = tree.visit("a", pack(*prompt), now, now, now + ttl, now + 2)
        prefixes = [tuple(prompt[:end]) for end in range(1, len(prompt) + 1)]
        alive = [prefix in used and used[prefix][0] + ttl >= now for prefix in prefixes]
        kept = alive.index(False) if False in alive else len(alive)
        ready = [alive[i] and used[prefix][1] <= now for i, prefix in enumerate(prefixes)]
        assert visit.kept == kept
        assert visit.readable == (ready.index(False) if False in ready else len(ready))
        for i, prefix in enumerate(prefixes):
            used[prefix] = now, used[prefix][1] if alive[i] else now + 2


def common(one: list[int], two: list[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


NODE = NODE_BYTES // 4


def test_forgets_what_was_not_used_for_longest() -> None:
    """Room for the head and some nine leaves of two tokens."""
    tree = PrefixTree(40 + 10 * NODE)
    head = list(range(1, 21))
    for number in range(50):
        tree.visit("a", pack(*head, 100 + number, 200 + number), number, 0.0, math.inf, 0.0)
    nodes = tree.nodes
    assert tree.forgotten_tokens == 100 + 20 - (tree.size - nodes * NODE_BYTES) // 4
    assert 2 < nodes <= 11
    assert tree.size <= tree.max_bytes
    assert tree.visit("a", pack(*head, 149, 249), 50, 0.0, math.inf, 0.0) == Visit(22, 22, 22, 49)
    assert tree.visit("a", pack(*head, 100, 200), 51, 0.0, math.inf, 0.0).seen == 20


def test_a_name_of_which_all_is_forgotten_goes_too() -> None:
    tree = PrefixTree(100 + 35 * NODE)
    for number in range(1_000):
        tree.visit(f"tenant {number}", pack(1, 2, 3), number, 0.0, math.inf, 0.0)
    assert tree.names <= 35


def test_forgetting_everything_is_no_fault() -> None:
    tree = PrefixTree(4)
    for number in range(10):
        tree.visit("a", pack(*range(number * 10, number * 10 + 9)), number, 0.0, math.inf, 0.0)
    assert tree.size == 0
