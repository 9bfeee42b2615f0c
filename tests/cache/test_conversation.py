"""What a client says of its conversation: what has ended goes first, what goes on is kept, and others lose nothing."""

import pytest

from foreword.cache import (
    CacheConfig,
    ConversationState,
    Mark,
    ModelFingerprint,
    Namespace,
    PrefixCache,
    PrivatePart,
    RequestLedger,
    pack_tokens,
)
from foreword.cache.conversation import GOES_ON_SECONDS
from foreword.cache.eviction import LearnedReuse
from foreword.cache.tree import NO_BLOCKS, RadixTree, Root
from foreword.replay.cache_loop import process

SPACE = Namespace(ModelFingerprint("weights"))
SIZE = 4
SYSTEM = list(range(8))
ENDED, GOES_ON = ConversationState.ENDED, ConversationState.GOES_ON


class Machine:
    """A cache, and requests one after another, a second apart."""

    def __init__(self, blocks: int, policy: str = "lru"):
        self.cache = PrefixCache(CacheConfig(num_blocks=blocks, block_size=SIZE, eviction_policy=policy))
        self.now = 0.0

    def ask(
        self,
        ids: list[int],
        said: ConversationState | None = None,
        answer: tuple[int, ...] = (),
        marks: tuple[Mark, ...] = (),
        private: PrivatePart | None = None,
        space: Namespace = SPACE,
    ) -> None:
        """One request."""
        self.now += 1
        tokens, generated = pack_tokens(ids), pack_tokens(answer)
        ledger = process(
            self.cache, space, tokens, self.now, generated=generated, marks=marks, private=private, conversation=said
        )
        assert ledger is not None
        self.cache.check_integrity()

    def has(self, ids: list[int], private: PrivatePart | None = None, space: Namespace = SPACE) -> int:
        """How many leading tokens are cached."""
        return self.cache.match(space, pack_tokens([*ids, 9999]), private).cached


def turn(start: int, length: int = 8) -> list[int]:
    return list(range(start, start + length))


@pytest.mark.parametrize("policy", ["lru", "protected-lru", "learned"])
def test_what_has_ended_goes_before_what_is_older(policy: str) -> None:
    m = Machine(8, policy)
    older, ended = turn(100), turn(200)
    m.ask(older)
    m.ask(ended, ENDED, answer=tuple(turn(300)))
    m.ask(turn(400, 24))
    assert (m.has(older), m.has(ended)) == (8, 0)


def test_all_turns_of_what_has_ended_go_first() -> None:
    m = Machine(12)
    older, first, second = turn(100), turn(200), turn(300)
    m.ask(first, GOES_ON, answer=(1, 2, 3, 4, 5))
    m.ask(older)
    m.ask([*first, 1, 2, 3, 4, *second], ENDED)
    m.ask(turn(400, 40))
    assert (m.has(older), m.has(first)) == (8, 0)


def test_a_dead_answer_of_an_earlier_turn_does_not_keep_what_has_ended() -> None:
    m = Machine(12)
    older, first, second = turn(100), turn(200), turn(300)
    m.ask(first, GOES_ON, answer=tuple(turn(500, 5)))  # the next turn does not have its answer
    m.ask(older)
    m.ask([*first, *second], ENDED)
    m.ask(turn(400, 40))
    assert (m.has(older), m.has(first)) == (8, 0)


def test_a_prefix_that_others_use_stays_as_it_was() -> None:
    m = Machine(10)
    m.ask([*SYSTEM, *turn(100)])
    m.ask([*SYSTEM, *turn(200)])
    m.ask(turn(900))
    m.ask([*SYSTEM, *turn(300)], ENDED)
    m.ask(turn(400))  # takes the tail of the one that ended
    assert m.has([*SYSTEM, *turn(300)]) == len(SYSTEM)
    m.ask(turn(500, 24))  # the other tails, and what is older than the last use of the prefix
    assert (m.has(SYSTEM), m.has(turn(900))) == (len(SYSTEM), 0)


def test_who_comes_later_with_the_same_prefix_keeps_it() -> None:
    m = Machine(12)
    mine, theirs = [*SYSTEM, *turn(100)], [*SYSTEM, *turn(200)]
    m.ask(mine)
    m.ask(theirs)
    m.ask([*mine, *turn(300)], ENDED)
    m.ask(turn(400, 32))
    assert m.has(theirs) == len(theirs)


def test_a_running_request_keeps_what_it_reads() -> None:
    m = Machine(12)
    prompt = turn(100)
    match = m.cache.match(SPACE, pack_tokens([*prompt, 5]))
    held = m.cache.reserve(match, RequestLedger(9), 0.0)
    assert held is not None
    m.cache.plan(held, 9, 9)
    m.cache.commit(held)
    m.ask([*prompt, 5], ENDED)
    m.ask(turn(200))
    m.cache.release(held, 2.5)
    m.ask(turn(300, 36))
    assert m.has(prompt) == 8, "it was used last by who said nothing"


def test_a_later_use_takes_it_back() -> None:
    m = Machine(8)
    older, again = turn(100), turn(200)
    m.ask(older)
    m.ask(again, ENDED)
    m.ask(again)
    m.ask(turn(300, 24))
    assert (m.has(older), m.has(again)) == (0, 8)


def test_a_tenant_ends_nothing_that_is_public_or_anothers() -> None:
    m = Machine(10)
    mine = PrivatePart(8, "ann")
    m.ask(turn(400))
    m.ask([*SYSTEM, *turn(100)], ENDED, private=mine)
    m.ask(turn(500, 28))
    assert m.has(SYSTEM) == len(SYSTEM)
    assert m.has([*SYSTEM, *turn(100)], mine) == len(SYSTEM)


def test_the_same_words_under_another_salt_stay() -> None:
    m = Machine(8)
    other = Namespace(SPACE.model, cache_salt="other")
    m.ask(turn(100), space=other)
    m.ask(turn(100), ENDED)
    m.ask(turn(200, 24))
    assert (m.has(turn(100), space=other), m.has(turn(100))) == (8, 0)


def test_what_goes_on_is_kept_before_what_is_newer_by_a_policy_that_has_learned_nothing_yet() -> None:
    m = Machine(8, "learned")
    m.ask(turn(100), GOES_ON, answer=(1, 2, 3, 4, 5))
    m.ask(turn(200, 4))
    m.ask(turn(300, 16))
    assert (m.has([*turn(100), 1, 2, 3, 4]), m.has(turn(200, 4))) == (12, 0)
    assert m.cache.usage().marked_blocks == 0


def test_a_policy_that_learns_believes_what_proves_true() -> None:
    policy, node = LearnedReuse(), RadixTree(SIZE).attach(Root(b""), memoryview(pack_tokens(turn(0, 512))), NO_BLOCKS)
    node.uses = 1

    def group(goes_on: bool) -> int:
        node.goes_on = goes_on
        return policy.used(node, None)

    told, untold = group(True), group(False)
    assert policy.worth(told, 20) > 2 * policy.worth(untold, 20)
    for _ in range(2000):  # what was to go on does not, and the other does
        node.group = group(True)
        node.group = group(False)
        policy.used(node, 30.0)
    assert policy.worth(told, 20) < policy.worth(untold, 20) / 2


@pytest.mark.parametrize("policy", ["lru", "protected-lru"])
def test_what_goes_on_is_kept_for_a_while(policy: str) -> None:
    m = Machine(8, policy)
    m.ask(turn(100), GOES_ON)
    for start in range(200, 700, 100):
        m.ask(turn(start, 24))
    assert m.has(turn(100)) == 8
    m.now += GOES_ON_SECONDS
    m.ask(turn(800, 24))
    m.ask(turn(900, 32))
    assert m.has(turn(100)) == 0


def test_what_has_ended_is_kept_no_longer_by_the_mark_of_an_earlier_turn_but_by_its_own() -> None:
    m = Machine(10)
    m.ask(turn(100), GOES_ON)
    m.ask([*turn(100), *turn(200)], ENDED)
    m.ask(turn(300))
    m.ask(turn(400, 32))
    assert (m.has(turn(300)), m.has(turn(100))) == (8, 0)
    m = Machine(10)
    m.ask([*turn(100), *turn(200)], ENDED, marks=(Mark(8, 60.0),))
    m.ask(turn(300))
    m.ask(turn(400, 24))
    assert (m.has(turn(300)), m.has([*turn(100), *turn(200)])) == (8, 8)


def test_bits_about_everything_keep_no_more_than_the_budget_of_marks() -> None:
    m = Machine(16)
    for start in range(100, 2000, 100):
        m.ask(turn(start), GOES_ON)
    assert m.cache.usage().marked_blocks <= 8
