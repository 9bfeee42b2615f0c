"""The observer: takes the events of an engine, and answers what happened, why, and what would be better."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from foreword.config import require, require_types
from foreword.events import Event, RequestFinished, StepFinished, StoreAnswered
from foreword.observe.counters import Counters, Counts
from foreword.observe.curve import CurveSnapshot, HitRateCurve
from foreword.observe.explain import (
    COARSE,
    Explanation,
    PromptReader,
    Reason,
    explain_to_operators,
    explain_to_owner,
    ledger_reason,
)
from foreword.observe.hashing import PrefixHasher
from foreword.observe.near_twins import LEAST_ALIKE, NearTwins, TwinGroup
from foreword.observe.prefixes import Prefix, PrefixSketch
from foreword.observe.recent import RecentRequests, visible_tokens
from foreword.observe.savings import CostFit, Savings, SavingsCount, TokenPrice
from foreword.tokens import TOKEN_BYTES

AT_ONCE = 64  # events
TWIN_CANDIDATES = 4  # earlier prompts a new one is compared with


@dataclass(frozen=True)
class ObserverConfig:
    """Options of an Observer; together they bound its memory."""

    recent_requests: int = 2048
    """Finished requests that can be explained."""
    recent_tokens: int = 4_000_000
    """Tokens of those requests, prompts and answers, in all (4 bytes each)."""
    prefix_nodes: int = 4096
    """Edges of the sketch of prominent prefixes."""
    prefix_tokens: int = 2_000_000
    """Tokens of that sketch (4 bytes each)."""
    curve_samples: int = 8192
    """Tokens followed for the curve of hit rate against cache size, and once more for each size that a prompt exceeds."""
    curve_sizes: tuple[int, ...] = ()
    """Sizes of cache, in tokens, that the curve will be asked for; below the longest prompt it is right for these only."""
    twin_groups: int = 16
    """Groups of near-twins."""
    minimum_tokens: int = 0
    """The shortest prompt that is cached, where a server has such a limit; 0: there is none."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("recent_requests", "recent_tokens", "prefix_nodes", "prefix_tokens", "curve_samples", "twin_groups"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}; it must be at least 1.")
        require(all(size >= 1 for size in self.curve_sizes), f"curve_sizes is {self.curve_sizes}; each must be at least 1.")
        require(self.minimum_tokens >= 0, f"minimum_tokens is {self.minimum_tokens}; it cannot be negative.")


class Observer:
    """An event sink that keeps statistics in constant memory. Not thread-safe.

    Events are digested some at a time, which is faster than one by one between an engine's steps; who asks gets an answer
    from all of them. What needs text, the finer reasons, is found when somebody asks: ``explain``, ``classify``.
    """

    def __init__(self, config: ObserverConfig | None = None):
        self.config = config or ObserverConfig()
        self._waiting: list[Event] = []
        self._recent = RecentRequests(self.config.recent_requests, self.config.recent_tokens)
        self._counters = Counters()
        self._curve = HitRateCurve(self.config.curve_samples, self.config.curve_sizes)
        self._hasher = PrefixHasher()
        self._prefixes = PrefixSketch(self.config.prefix_nodes, self.config.prefix_tokens)
        self._twins = NearTwins(self.config.twin_groups)
        self._costs = CostFit()
        self._savings = SavingsCount()
        self._unclassified: deque[tuple[str, Reason]] = deque(maxlen=self.config.recent_requests)
        self._reasons: OrderedDict[str, Reason] = OrderedDict()  # the finer ones, for operators
        self._own_reasons: OrderedDict[str, Reason] = OrderedDict()  # the finer ones, for who asked

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._waiting.append(event)
        if len(self._waiting) >= AT_ONCE:
            self._digest()

    @property
    def waiting(self) -> int:
        """Events that are not digested yet."""
        return len(self._waiting)

    @property
    def recent(self) -> RecentRequests:
        """The requests that can be explained."""
        self._digest()
        return self._recent

    def explain(self, request_id: str, reader: PromptReader | None = None) -> Explanation:
        """Why a finished request hit or missed, for operators: with what other namespaces and tenants have to do with it.

        NotFoundError when it is not, or no longer, remembered.
        """
        recent = self.recent
        return explain_to_operators(recent.get(request_id), recent, self.config.minimum_tokens, reader)

    def explain_to_owner(self, request_id: str, reader: PromptReader | None = None) -> Explanation:
        """The same for who asked it: nothing of other namespaces, and compared with the tenant's own requests alone."""
        recent = self.recent
        return explain_to_owner(recent.get(request_id), recent, self.config.minimum_tokens, reader)

    def classify(self, reader: PromptReader, limit: int = 64) -> int:
        """Find the finer reasons of up to ``limit`` requests, for the counts; returns how many are left."""
        recent = self.recent
        for _ in range(min(limit, len(self._unclassified))):
            request_id, before = self._unclassified.popleft()
            if request_id in recent:
                reason = self.explain(request_id, reader).full_reason
                self._counters.changed(recent.get(request_id), before, reason)
                self._note(self._reasons, request_id, reason)
        return len(self._unclassified)

    def reason(self, request_id: str) -> Reason:
        """The reason of a finished request as far as it has been found so far, for operators. NotFoundError as above."""
        return self._reasons.get(request_id) or self._ledger_reason(request_id)

    def reasons_to_owner(self, request_ids: Sequence[str], reader: PromptReader, limit: int = 64) -> list[Reason]:
        """The reasons of finished requests for who asked them; the finer ones of up to ``limit`` more are found now.

        How many are found depends on what was asked for here alone, never on what others look at. NotFoundError as above.
        """
        found = []
        for request_id in request_ids:
            reason = self._own_reasons.get(request_id) or self._ledger_reason(request_id)
            if limit and request_id not in self._own_reasons and reason in COARSE:
                limit -= 1
                reason = self.explain_to_owner(request_id, reader).reason
                self._note(self._own_reasons, request_id, reason)
            found.append(reason)
        return found

    def _ledger_reason(self, request_id: str) -> Reason:
        return ledger_reason(self.recent.get(request_id), self.config.minimum_tokens)

    def _note(self, reasons: OrderedDict[str, Reason], request_id: str, reason: Reason) -> None:
        reasons[request_id] = reason
        if len(reasons) > self.config.recent_requests:
            reasons.popitem(last=False)

    def counts(self) -> Counts:
        """Hits and misses by source and reason."""
        self._digest()
        return self._counters.snapshot()

    def curve(self, sizes: Sequence[int]) -> CurveSnapshot:
        """The hit rate that caches of these sizes, in tokens, would have had."""
        self._digest()
        return self._curve.snapshot(sizes)

    def prefixes(self, limit: int = 200) -> tuple[Prefix, ...]:
        """The most prominent prefixes as edges of a tree, parents first."""
        self._digest()
        return self._prefixes.snapshot(limit)

    def near_twins(self) -> tuple[TwinGroup, ...]:
        """Groups of prompts that a small difference keeps apart, the most costly first."""
        self._digest()
        return self._twins.snapshot()

    def edge_of(self, group: TwinGroup) -> int | None:
        """The number of the prominent prefix on which a group's prompts part; None if that has been forgotten."""
        self._digest()
        return self._prefixes.edge_of(group.namespace, group.head)

    def savings(self, price: TokenPrice | None = None) -> Savings:
        """What was saved, in tokens, seconds and, at a price, money."""
        self._digest()
        return self._savings.snapshot(self._costs.model(), price)

    def _digest(self) -> None:
        """Enter the waiting events into the statistics, in order."""
        events, self._waiting = self._waiting, []
        for event in events:
            if isinstance(event, StepFinished):
                self._costs.observe(event.seconds, event.spans, event.generating_rows)
            elif isinstance(event, RequestFinished):
                self._take(event)
            elif not isinstance(event, StoreAnswered):
                self._counters.cache(event)

    def _take(self, request: RequestFinished) -> None:
        reason = ledger_reason(request, self.config.minimum_tokens)
        self._counters.request(request, reason)
        if reason is not Reason.NOT_ADMITTED:
            self._learn(request, reason)
        self._recent.add(request)

    def _learn(self, request: RequestFinished, reason: Reason) -> None:
        """Enter a request that was looked up into the statistics of prefixes."""
        tokens, namespace = request.tokens, request.namespace
        length, reused = len(tokens) // TOKEN_BYTES, request.account.reused
        whole = self._hasher(namespace, tokens + request.generated, request.owner, request.private_from)
        self._curve.observe(whole, length)
        door = None if request.owner is None else (request.private_from, request.owner)
        self._prefixes.observe(namespace, tokens, reused, request.finished, request.tenant, door)
        self._savings.observe(length, reused, request.account.computed)
        if reason in COARSE:
            self._unclassified.append((request.request_id, reason))
            if request.account.computed >= LEAST_ALIKE:
                self._look_for_twins(request)

    def _look_for_twins(self, request: RequestFinished) -> None:
        """Twins in what is everyone's, where the hit ended there; else among the requests of the same owner alone."""
        namespace, tokens, candidates = request.namespace, request.tokens, self._candidates(request)
        if request.owner is not None and request.account.reused < request.private_from:
            tokens = tokens[: request.private_from * TOKEN_BYTES]
        elif request.owner is not None:
            namespace += b"owner" + request.owner.encode("utf-8", "surrogatepass")
            candidates = (tokens for tokens in candidates if len(tokens) > request.private_from * TOKEN_BYTES)
        self._twins.observe(namespace, tokens, request.account.reused, candidates, request.finished)

    def _candidates(self, request: RequestFinished) -> Iterator[bytes]:
        """Earlier prompts that a prompt may be a near-twin of: those that share most with it, and the last ones."""
        nearest = self._recent.nearest(request, request.tokens, reach=TWIN_CANDIDATES)
        last = (other for other in self._recent.newest() if other.namespace == request.namespace)
        for other in (*islice(nearest, TWIN_CANDIDATES), *islice(last, TWIN_CANDIDATES)):
            yield visible_tokens(other, request)[: len(other.tokens)]
