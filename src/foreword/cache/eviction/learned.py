"""What is least likely to be used again soon goes first, as far as earlier uses tell.

Nodes are put into groups by what tells conversations that go on from those that are over: whether the client says that this
one does, how many times it has gone on, and how much its last request brought that was new. Answers are groups of their own,
since many clients do not send them back as they were, and so is what a conversation left behind when it went on. For every
group it is counted after how many seconds nodes are used again. A leaf is worth the best rate of uses that can be had by
keeping it some time longer, from its age on:

    worth  =  max over times t of  (share that is used within t)  /  (mean time that it is kept for that, at most t)

So what has just been used may go before what is older, where people think before they go on; and a large prompt that
nobody went on from goes soon. What a group has not shown yet is taken from all groups together, and at first from a curve on
which the longer ago something was used, the less it is worth: then this is LRU. A client's word counts for several times the
chance until its conversations have shown what it is worth; whoever says it of everything gains nothing by it.
"""

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foreword.cache.tree import Node

TURNS = 5  # 1, 2, 3 to 4, 5 to 8, more
FRESH = (1024, 2048, 4096, 8192, 16384)  # tokens: bounds of how much was new
PROMPTS = TURNS * (len(FRESH) + 1)  # groups of them, and one of answers, by what was said: first of nothing, then goes on
LEFT_BEHIND = 2 * (PROMPTS + 1)
GROUPS = LEFT_BEHIND + 1
AGES = 40  # bins of idle seconds: below 1, then two a doubling
LONGEST_CHAIN = 64  # nodes that are looked at to count turns
COUNTED_AS_ONE = 512  # tokens: a longer node counts for more
BETWEEN = 500  # uses after which worths are computed anew
DECAY = 0.95  # what counts so far keep at that moment
OWN_PRIOR, COMMON_PRIOR = 20.0, 200.0  # uses that a prior counts for
TOLD = 16.0  # times the chance: what a prior holds of those that go on as their clients say
FIRST_HAZARD = np.concatenate(([0.25], 0.1 / (1 + 0.15 * np.arange(1, AGES))))  # ever fewer a second


class LearnedReuse:
    """The policy that learns after which time what kind of prefix is used again."""

    name: ClassVar[str] = "learned"
    learns: ClassVar[bool] = True

    def __init__(self) -> None:
        edges = np.concatenate(([0.0], 2.0 ** (np.arange(AGES) / 2)))
        self._widths = np.diff(edges)
        self._hits = np.zeros((GROUPS, AGES))
        self._entered = np.zeros(GROUPS)
        self._uses = 0
        self._worths: list[list[float]] = []
        self._weigh()

    def used(self, node: Node, idle: float | None) -> int:
        """Count a use, and say in which group the node is from now on."""
        weight = (node.end - node.start) / COUNTED_AS_ONE
        if idle is not None:
            self._hits[node.group, _age(idle)] += weight
            self._uses += 1
            if self._uses % BETWEEN == 0:
                self._weigh()
        group = PROMPTS if node.answer else _turns(node) * (len(FRESH) + 1) + sum(node.fresh > bound for bound in FRESH)
        group += (PROMPTS + 1) * node.goes_on
        self._entered[group] += weight
        return group

    def left_behind(self, node: Node) -> int:
        """Its conversation has gone on without it: it was of another group by mistake."""
        weight = (node.end - node.start) / COUNTED_AS_ONE
        self._entered[node.group] = max(0.0, self._entered[node.group] - weight)
        self._entered[LEFT_BEHIND] += weight
        return LEFT_BEHIND

    def worth(self, group: int, idle: float) -> float:
        """Uses a second that keeping it brings, at best."""
        return self._worths[group][_age(idle)]

    def _weigh(self) -> None:
        """Compute the worths of all groups and ages, and let the counts so far fade."""
        common = _hazards(self._hits.sum(axis=0)[None], self._entered.sum()[None], FIRST_HAZARD[None], COMMON_PRIOR)
        told = np.append(np.repeat((1.0, TOLD), PROMPTS + 1), 1.0)[:, None]
        hazards = _hazards(self._hits, self._entered, np.minimum(told * common, 0.5), OWN_PRIOR)
        worths = np.empty((GROUPS, AGES))
        for age in range(AGES):
            left = np.cumprod(1 - hazards[:, age:], axis=1)  # of what has come to this age, at the end of each bin
            before = np.hstack((np.ones((GROUPS, 1)), left[:, :-1]))
            kept = np.cumsum(self._widths[age:] * (before + left) / 2, axis=1)
            worths[:, age] = ((1 - left) / kept).max(axis=1)
        self._worths = worths.tolist()
        self._hits *= DECAY
        self._entered *= DECAY


def _hazards(
    hits: npt.NDArray[np.float64], entered: npt.NDArray[np.float64], prior: npt.NDArray[np.float64], weight: float
) -> npt.NDArray[np.float64]:
    """The share of what has come to each age that is used at it, [groups, ages]; a prior counts for ``weight`` uses."""
    before = np.cumsum(hits, axis=1) - hits
    at_risk = np.maximum(np.maximum(entered[:, None] - before, 0.0), hits)
    weights = weight * np.cumprod(np.hstack((np.ones((len(prior), 1)), 1 - prior[:, :-1])), axis=1)
    found: npt.NDArray[np.float64] = (hits + weights * prior) / (at_risk + weights)
    return np.minimum(found, 0.999)


def _age(idle: float) -> int:
    """The bin of an age in seconds."""
    return 0 if idle < 1 else min(AGES - 1, 1 + int(2 * math.log2(idle)))


def _turns(node: Node) -> int:
    """How often a node's conversation has gone on, in steps from 0: above the end of one stands what was used once more."""
    turns, above = node.uses, node.parent
    for _ in range(LONGEST_CHAIN):
        if above is None or not turns <= above.uses <= turns + 1:
            break
        turns, above = above.uses, above.parent
    return min(TURNS - 1, math.ceil(math.log2(max(1, turns))))
