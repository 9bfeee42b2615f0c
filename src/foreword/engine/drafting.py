"""Drafting: which tokens are computed before anybody knows that they come, and what became of them.

Drafters are asked in turn, after the form of the answer, where it leaves no choice. How often each was right, behind as many
tokens that spoke for it, is known of the request and of all: that and the cost of steps (``draft_rule.py``) say how many
tokens are drafted, if any. A drafter that raises, or proposes what is no token, is not asked for that request again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import index
from typing import NamedTuple, TypeVar

from foreword.cache import PrefixCache
from foreword.engine.draft_rule import MOST, StepCost, reach, worthwhile
from foreword.engine.generation import Continuation
from foreword.faults import NO_FAULTS, fault_lines
from foreword.sched import Draft, Drafter, Predicted, PromptLookup, Request, TreeDrafter

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
LOOKING = 0.005
"""Of the time of steps: a request for which nothing was worth drafting several times is passed over for so many tokens that
looking takes no more."""
LONGEST_REST = 16
"""But at most for so many tokens."""
LOOK_WEIGHT = 0.1
"""Of the newest look in how long one takes."""


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
    """What is known of drafts for one request. ``due``: it is passed over until it has so many tokens."""

    counts: dict[_Class, _Count] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)
    due: int = 0
    in_vain: int = 0
    asked: _Class | None = None


class _Found(NamedTuple):
    """A draft for a request, not yet chosen; each token is right with a chance where those before it are."""

    request: Request
    standing: _Standing
    draft: Draft
    kind: _Class
    chance: float


class Drafting:
    """Chooses drafts for the requests of one engine.

    drafters
        In the order in which they are asked.
    vocabulary
        Token ids are below it.
    clock
        In seconds; says what asking them costs.
    faults
        How often drafters have raised, or proposed what is no token.
    """

    def __init__(self, drafters: Sequence[Drafter], vocabulary: int, clock: Callable[[], float] = time.perf_counter):
        self.faults = 0
        self._drafters = tuple(drafters)
        self._vocabulary = vocabulary
        self._clock = clock
        self._cost = StepCost()
        self._look = 0.0  # seconds that one takes
        self._counts: dict[_Class, _Count] = {}
        self._standings: dict[Request, _Standing] = {}

    def drafts(self, generating: Sequence[Continuation]) -> dict[Request, Draft]:
        """What to draft in the next step for requests that generate."""
        start, looks = self._clock(), 0
        found: list[_Found] = []
        vain: list[tuple[Request, _Standing]] = []
        for continuation in generating:
            request = continuation.request
            standing = self._standings.get(request)
            if standing is None:
                standing = self._standings[request] = _Standing()
            elif request.num_tokens < standing.due:
                continue
            looks += 1
            proposed = self._propose(continuation, standing)
            if proposed is None:
                vain.append((request, standing))
            else:
                found.append(proposed)
        chosen = {}
        chances = [(each.chance, len(each.draft.tokens)) for each in found]
        for each, length in zip(found, worthwhile(self._cost, len(generating), chances), strict=True):
            if length:
                chosen[each.request] = each.draft._replace(tokens=each.draft.tokens[:length])
                each.standing.in_vain, each.standing.asked = 0, each.kind
            else:
                vain.append((each.request, each.standing))
                self._fade(each.standing, each.kind)
        if looks:
            self._looked((self._clock() - start) / looks)
        if vain:
            self._rest(vain, len(generating))
        return chosen

    def _looked(self, seconds: float) -> None:
        """A look took so long; one that took very long, as a request's first may, counts as twice as long as usual."""
        usual = self._look or seconds
        self._look = usual + LOOK_WEIGHT * (min(seconds, 2 * usual) - usual)

    def _rest(self, vain: Sequence[tuple[Request, _Standing]], generating: int) -> None:
        """There was nothing to draft for these, among so many requests: they are passed over, twice as long each time."""
        bearable = LOOKING * self._cost.seconds(generating)
        longest = min(LONGEST_REST, int(generating * self._look / bearable)) if bearable else 0
        for request, standing in vain:
            standing.due = request.num_tokens + min(longest, (1 << standing.in_vain) - 1) + 1
            standing.in_vain = min(standing.in_vain + 1, LONGEST_REST)

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

    def _propose(self, continuation: Continuation, standing: _Standing) -> _Found | None:
        """The first proposal of which something can come."""
        request, most = continuation.request, min(MOST, continuation.most_drafted())
        if most <= 0:
            return None
        if continuation.has_form:
            forced = self._safely(FORM, standing, continuation.forced_tokens)
            if forced:
                kind = _Class(FORM, 0)
                return _Found(request, standing, Draft(FORM, forced[:most]), kind, self._chance(standing, kind))
        for drafter in self._drafters:
            if drafter.name in standing.unfit:
                continue
            try:
                found = self._proposed(drafter, request, standing, most)
            except NO_FAULTS:
                raise
            except BaseException as error:  # native code raises what is no Exception
                self._failed(drafter.name, standing, error)
                continue
            if found is not None:
                tokens = self._safely(FORM, standing, partial(continuation.possible, found.draft.tokens))
                if tokens:
                    return found._replace(draft=Draft(drafter.name, tokens))
        return None

    def _proposed(self, drafter: Drafter, request: Request, standing: _Standing, most: int) -> _Found | None:
        """What a drafter proposes, as far as that may be worth computing, if at all; ValueError for what is no token."""
        proposal = drafter.propose(request, most)
        count = len(proposal.tokens)
        if not count:
            return None
        kind = _Class(drafter.name, min(proposal.match, 16).bit_length())
        chance = self._chance(standing, kind)
        tokens = tuple(map(index, proposal.tokens[: reach(chance)]))
        if not tokens:
            self._fade(standing, kind)
            return None
        if count > most or min(tokens) < 0 or max(tokens) >= self._vocabulary:
            raise ValueError(f"{count} tokens were proposed where {most} may come, or one that is none")
        return _Found(request, standing, Draft(drafter.name, tokens), kind, chance)

    def _safely(self, name: str, standing: _Standing, work: Callable[[], T]) -> T | None:
        """What comes of something that a drafter does for a request; one that raises does nothing more for it."""
        if name in standing.unfit:
            return None
        try:
            return work()
        except NO_FAULTS:
            raise
        except BaseException as error:  # native code raises what is no Exception
            self._failed(name, standing, error)
            return None

    def _failed(self, name: str, standing: _Standing, error: BaseException) -> None:
        """Something that a drafter did for a request raised: it does nothing more for it."""
        standing.unfit.add(name)
        self.faults += 1
        if self.faults == 1:
            logger.error("The drafter %r failed; requests go on without it.\n%s", name, fault_lines(error))

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


def make_drafting(cache: PrefixCache, vocabulary: int) -> Drafting:
    """With the drafters that there are, for an engine over a cache. What a client predicts of its answer goes first."""
    return Drafting((Predicted(), TreeDrafter(cache.continuations), PromptLookup()), vocabulary)
