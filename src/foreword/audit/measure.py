"""What mending saves, by replaying the log with the fixes applied, one after another."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from foreword.audit.config import AuditConfig
from foreword.audit.conversations import Conversations
from foreword.audit.findings import Totals
from foreword.audit.provider_cache import CacheModel, Outcome
from foreword.audit.provider_terms import TermsBook
from foreword.audit.request import LoggedRequest
from foreword.audit.rules import Rule
from foreword.audit.tokens import Tokenizing, Tokens


@dataclass
class Saving:
    """Tokens not computed again, and US dollars not paid (None: no known price), by a fix at one place.

    ``by_rules`` are tokens that the provider does not compute by its rules, ``by_perfect`` those that a perfect cache does
    not. ``requests`` are those that find more in a cache with the fix.
    """

    by_rules: int = 0
    by_perfect: int = 0
    dollars: float | None = None
    requests: int = 0

    @property
    def tokens(self) -> int:
        """What the provider does not compute; where its rules let nothing be read either way (no marks, below the minimum),
        what a perfect cache does not."""
        return self.by_rules if self.by_rules > 0 else self.by_perfect

    def add(self, other: "Saving") -> None:
        """Add what one request saves."""
        self.by_rules += other.by_rules
        self.by_perfect += other.by_perfect
        self.requests += other.requests
        if other.dollars is not None:
            self.dollars = (self.dollars or 0.0) + other.dollars


@dataclass
class Measured:
    """Savings by (code, place), and the sums of the log with all fixes applied (None: nothing was mended)."""

    savings: dict[tuple[str, str], Saving] = field(default_factory=dict)
    mended: Totals | None = None

    def of(self, code: str, place: str) -> Saving:
        """What the fix of a rule saves at a place."""
        return self.savings.get((code, place), Saving())

    def repair(self, totals: Totals) -> Totals:
        """The totals of the log, completed by what mending makes of them."""
        mended = self.mended or totals
        return replace(
            totals,
            repaired_prompt=mended.prompt,
            repaired_seen=mended.seen,
            repaired=mended.cached,
            repaired_dollars=mended.dollars,
        )


class Measuring:
    """One pass with a chain of replays: the log as it is, with the first rule's fix, with the first two, and so on.

    So each fix is measured on top of those before it, no token is counted twice, and the savings add up to what all of them
    save together. ``rules`` are in the order of the chain; ``places``: where each code was seen, most often first.
    """

    def __init__(
        self,
        rules: list[Rule],
        places: dict[str, list[str]],
        tokenizing: Tokenizing,
        terms: TermsBook,
        config: AuditConfig,
    ):
        self.tokenizing = tokenizing
        self.terms = terms
        self._places = places
        self._as_it_is = CacheModel(config.tree_tokens, config.first_token_seconds)
        self._chain = [(rule, rule.fixer(), CacheModel(config.tree_tokens, config.first_token_seconds)) for rule in rules]

    def run(self, requests: Iterable[LoggedRequest]) -> Measured:
        """Play all requests."""
        savings: dict[tuple[str, str], Saving] = {}
        mended = Totals()
        turns: Conversations[None] = Conversations()
        for request in requests:
            tokens = self.tokenizing.encode(request)
            link = turns.follow(request)
            turns.keep(request, None)
            answered = link is not None and link.sure
            outcome = self._as_it_is.feed(request, tokens, self.terms.of(request, len(tokens)), answered=answered)
            for rule, fix, caches in self._chain:
                fixed = fix(request)
                if fixed.pieces is not request.pieces:
                    tokens = self.tokenizing.encode(fixed)
                better = caches.feed(fixed, tokens, self.terms.of(fixed, len(tokens)), answered=answered)
                if fixed is not request or better != outcome:
                    place = self._place(rule, request, fixed, tokens, better)
                    savings.setdefault((rule.code, place), Saving()).add(_saving(outcome, better))
                request, outcome = fixed, better
            mended = mended.plus(outcome)
        return Measured(savings, mended)

    def _place(self, rule: Rule, base: LoggedRequest, fixed: LoggedRequest, tokens: Tokens, outcome: Outcome) -> str:
        """The finding that a request's saving belongs to: where the rule changed the text, or up to where it is now read."""
        places = self._places[rule.code]
        if rule.explains_break:
            place = next((one.place for one, two in zip(base.pieces, fixed.pieces, strict=False) if one != two), "")
        else:
            place = fixed.pieces[tokens.piece_at(max(0, outcome.cached - 1))[0]].place
        return place if place in places else places[0]


def _saving(before: Outcome, after: Outcome) -> Saving:
    dollars = None if before.dollars is None or after.dollars is None else before.dollars - after.dollars
    return Saving(
        by_rules=before.uncached - after.uncached,
        by_perfect=before.computed - after.computed,
        dollars=dollars,
        requests=int(after.cached > before.cached or after.seen > before.seen),
    )
