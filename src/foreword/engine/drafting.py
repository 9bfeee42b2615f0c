"""Drafting: which tokens are computed before anybody knows that they come, and what became of them.

Drafters are asked in turn, after the form of the answer, where it leaves no choice. How often each was right, behind as many
tokens that spoke for it, is known of the request and of all: that and the cost of steps (``draft_rule.py``) say how many
tokens are drafted, if any. A drafter that raises, or proposes what is no token, is not asked for that request again.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import index
from typing import NamedTuple, TypeVar

from foreword.engine.draft_rule import MOST, StepCost, worthwhile
from foreword.engine.generation import Continuation
from foreword.faults import NO_FAULTS, fault_lines
from foreword.sched import Draft, Drafter, Proposal, Request

logger = logging.getLogger("foreword")
T = TypeVar("T")
FORM = "form"
"""What a form leaves no choice about is counted under this name."""
FIRST_CHANCE = (0.9, 0.3, 0.5, 0.65, 0.8, 0.9)
"""With which chance a token is right, before anything is known: where a form leaves no choice, and where 1, 2, 4, 8, 16 or
more tokens spoke for it."""
FIRST_WEIGHT = 4.0
"""Tokens for which what was known before stands."""
OF_ALL, OF_ONE, UNASKED = 0.995, 0.9, 0.995
"""What a count keeps with each draft that was looked at, of all requests and of one; and with each that was not computed,
so that it is tried again."""
LONGEST_REST, AMONG = 8, 4
"""A request for which nothing was worth drafting several times is passed over for up to so many tokens, and at most for one
for each so many requests that generate: where there are few, looking costs nothing beside their step."""


class _Count:
    """How often drafted tokens were right, of those that were looked at; what is long ago fades."""

    __slots__ = ("right", "seen")

    def __init__(self) -> None:
        self.right = self.seen = 0.0

    def fade(self, kept: float) -> None:
        self.right *= kept
        self.seen *= kept

    def add(self, right: int, seen: int) -> None:
        self.right += right
        self.seen += seen


class _Class(NamedTuple):
    """Drafts that are alike: of one drafter, with about as many tokens that spoke for them."""

    drafter: str
    match: int


@dataclass(slots=True)
class _Standing:
    """What is known of drafts for one request."""

    counts: dict[_Class, _Count] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)
    waits: int = 0
    in_vain: int = 0
    asked: _Class | None = None

    def rest(self, generating: int) -> None:
        """There was nothing to draft for it, among so many requests."""
        self.in_vain += 1
        self.waits = min(self.in_vain - 1, LONGEST_REST, generating // AMONG)


class Drafting:
    """Chooses drafts for the requests of one engine.

    drafters
        In the order in which they are asked.
    vocabulary
        Token ids are below it.
    faults
        How often drafters have raised, or proposed what is no token.
    """

    def __init__(self, drafters: Sequence[Drafter], vocabulary: int):
        self.faults = 0
        self._drafters = tuple(drafters)
        self._vocabulary = vocabulary
        self._cost = StepCost()
        self._counts: dict[_Class, _Count] = {}
        self._standings: dict[Request, _Standing] = {}

    def drafts(self, generating: Sequence[Continuation]) -> dict[Request, Draft]:
        """What to draft in the next step for requests that generate."""
        found: list[tuple[Request, Draft]] = []
        chances: list[tuple[float, int]] = []
        for continuation in generating:
            standing = self._standings.get(continuation.request)
            if standing is None:
                standing = self._standings[continuation.request] = _Standing()
            if standing.waits:
                standing.waits -= 1
                continue
            draft, match = self._propose(continuation, standing)
            if draft is None:
                standing.rest(len(generating))
                continue
            standing.asked = _class_of(draft.drafter, match)
            found.append((continuation.request, draft))
            chances.append((self._chance(standing, standing.asked), len(draft.tokens)))
        chosen = {}
        for (request, draft), length in zip(found, worthwhile(self._cost, len(generating), chances), strict=True):
            standing = self._standings[request]
            if length:
                chosen[request] = draft._replace(tokens=draft.tokens[:length])
                standing.in_vain = 0
            elif standing.asked is not None:
                standing.rest(len(generating))
                self._fade(standing, standing.asked)
        return chosen

    def computed(self, rows: int, seconds: float) -> None:
        """A step without prompts took so long."""
        self._cost.observe(rows, seconds)

    def came(self, request: Request, drafted: int, right: int) -> None:
        """Of the tokens drafted for a request the first ``right`` were right, and the next, if there was one, was not."""
        standing = self._standings[request]
        assert standing.asked is not None
        seen = min(drafted, right + 1)
        for counts, kept in ((standing.counts, OF_ONE), (self._counts, OF_ALL)):
            count = counts.setdefault(standing.asked, _Count())
            count.fade(kept)
            count.add(right, seen)

    def give_up(self, request: Request) -> None:
        """No more drafts for a request: what was computed with one could not be believed."""
        self.faults += 1
        self._standings[request].unfit.update((FORM, *(drafter.name for drafter in self._drafters)))

    def ended(self, request: Request) -> None:
        """A request has ended."""
        standing = self._standings.pop(request, None)
        if standing is not None:
            for drafter in self._drafters:
                self._safely(drafter.name, standing, partial(drafter.ended, request))

    def _propose(self, continuation: Continuation, standing: _Standing) -> tuple[Draft | None, int]:
        """The first proposal of which something can come, and how many tokens speak for it."""
        request, most = continuation.request, min(MOST, continuation.most_drafted())
        if most <= 0:
            return None, 0
        forced = self._safely(FORM, standing, continuation.forced_tokens)
        if forced:
            return Draft(FORM, forced[:most]), 0
        for drafter in self._drafters:
            draft = self._safely(drafter.name, standing, partial(self._proposed, drafter, request, most))
            if draft is not None and draft.tokens:
                tokens = self._safely(FORM, standing, partial(continuation.possible, draft.tokens))
                if tokens:
                    return Draft(drafter.name, tokens), draft.match
        return None, 0

    def _proposed(self, drafter: Drafter, request: Request, most: int) -> Proposal:
        """What a drafter proposes; ValueError for what is none."""
        proposal = drafter.propose(request, most)
        tokens = tuple(map(index, proposal.tokens))
        if len(tokens) > most or not all(0 <= token < self._vocabulary for token in tokens):
            raise ValueError(f"{len(tokens)} tokens were proposed where {most} may come, or one that is none")
        return Proposal(tokens, proposal.match)

    def _safely(self, name: str, standing: _Standing, work: Callable[[], T]) -> T | None:
        """What comes of something that a drafter does for a request; one that raises does nothing more for it."""
        if name in standing.unfit:
            return None
        try:
            return work()
        except NO_FAULTS:
            raise
        except BaseException as error:  # native code raises what is no Exception
            standing.unfit.add(name)
            self.faults += 1
            if self.faults == 1:
                logger.error("The drafter %r failed; requests go on without it.\n%s", name, fault_lines(error))
            return None

    def _chance(self, standing: _Standing, asked: _Class) -> float:
        """With which chance a drafted token is right, if those before it are."""
        chance, weight = FIRST_CHANCE[asked.match], FIRST_WEIGHT
        for counts in (self._counts, standing.counts):
            count = counts.get(asked)
            if count is not None:
                chance = (count.right + weight * chance) / (count.seen + weight)
        return chance

    def _fade(self, standing: _Standing, asked: _Class) -> None:
        for counts in (standing.counts, self._counts):
            count = counts.get(asked)
            if count is not None:
                count.fade(UNASKED)


def _class_of(drafter: str, match: int) -> _Class:
    return _Class(drafter, min(match, 16).bit_length())
