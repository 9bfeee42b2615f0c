"""What a caller's account and look-ups tell is the same whether or not others have asked."""

import random

import pytest

from cache.harness import Machine, match
from foreword.account import Account
from foreword.cache import CacheConfig, Namespace, PrivatePart
from foreword.testing.hash_kv import MODEL, Running

Asked = tuple[str, list[int], int]
"""Who asks what; from which place on it is private."""
LIVES = 150


def prompts(rng: random.Random, public: bool) -> list[Asked]:
    """Requests of A and B that share beginnings, all of which both know; tokens 0 to 2."""
    asked: list[Asked] = []
    for _ in range(rng.randrange(2, 14)):
        base = rng.choice(asked)[1] if asked and rng.random() < 0.8 else []
        ids = base[: rng.randrange(len(base) + 1)] + rng.choices(range(3), k=rng.randrange(1, 14))
        asked.append((rng.choice("AB"), ids, rng.randrange(len(ids) + 1) if public else 0))
    return asked


def told(asked: list[Asked], spaces: dict[str, Namespace], rng: random.Random, public: bool) -> list[tuple[object, Account]]:
    """What A is told of each of its requests: the look-up, and the account at the end. Some run while others come."""
    m = Machine(CacheConfig(num_blocks=4000, block_size=rng.choice([1, 2, 4])))
    found: list[tuple[object, Running]] = []
    running: dict[str, list[Running]] = {"A": [], "B": []}
    stays = random.Random(rng.random())  # whether a request of A runs on does not depend on B's
    for who, ids, start in asked:
        private = PrivatePart(start, who) if public else None
        looked = match(m, ids, spaces[who], private)
        request = m.must_start(ids, spaces[who], private=private)
        m.complete()
        if who == "A":
            found.append((looked, request))
        running[who].append(request)
        if who == "B" or stays.random() < 0.6:
            m.finish(running[who].pop(0))
    m.drain()
    return [(looked, request.ledger.account()) for looked, request in found]


@pytest.mark.parametrize("other", [Namespace(MODEL, tenant="B"), Namespace(MODEL, tenant="A", cache_salt="s")])
def test_nothing_that_one_is_told_depends_on_another_namespace(other: Namespace) -> None:
    """Without eviction, which tells of memory: see docs/explanation/isolation.md."""
    for seed in range(LIVES):
        asked = prompts(random.Random(seed), public=False)
        spaces = {"A": Namespace(MODEL, tenant="A"), "B": other}
        alone = [each for each in asked if each[0] == "A"]
        assert told(asked, spaces, random.Random(seed), False) == told(alone, spaces, random.Random(seed), False), seed


def test_nothing_that_one_is_told_depends_on_what_is_private_to_another() -> None:
    """B's private tokens are others, and others in number; its public ones stay."""
    spaces = dict.fromkeys("AB", Namespace(MODEL))
    for seed in range(LIVES):
        rng = random.Random(seed)
        asked = prompts(rng, public=True)
        changed = [
            (who, ids[:start] + rng.choices(range(3), k=rng.randrange(1, 9)) if who == "B" else ids, start)
            for who, ids, start in asked
        ]
        assert told(asked, spaces, random.Random(seed), True) == told(changed, spaces, random.Random(seed), True), seed
