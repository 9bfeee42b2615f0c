"""On what terms a provider caches, and what it charges: from the price table; a model that is not in it has no price."""

from dataclasses import dataclass, replace

from foreword.audit.request import LoggedRequest
from foreword.prompt.prices import ModelPrice, PriceTable
from foreword.prompt.vendor_forms import ttl

FIVE_MINUTES, ONE_HOUR = ttl.ANTHROPIC["5m"], ttl.ANTHROPIC["1h"]
MARKED_MINIMUM = 1_024
MODELS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Terms:
    """``minimum``: a shorter prefix is not cached; ``step``: hits are counted in such units. Both in tokens.

    Lifetimes in seconds after the last use: by default (None: without end), and what may be asked for (None: nothing).
    """

    minimum: int
    lifetime: float | None
    longer_lifetime: float | None
    step: int
    price: ModelPrice | None


class TermsBook:
    """The terms of every model of a log.

    A model without a row is taken for one of its kind: where only marks are cached, Anthropic's usual terms; else a server
    that caches every prefix and keeps it.
    """

    def __init__(self, prices: PriceTable):
        self._prices = prices
        self._known: dict[tuple[str, bool], Terms] = {}

    def of(self, request: LoggedRequest, tokens: int) -> Terms:
        """The terms for a request of so many tokens, as they are counted here.

        Its minimum is the provider's in its own tokens: where the log says how many of those the prompt has, it is as large
        a part of the prompt here as there.
        """
        terms, usage = self._terms(request), request.usage
        if usage is None or not usage.prompt or usage.prompt == tokens:
            return terms
        return replace(terms, minimum=max(1, terms.minimum * tokens // usage.prompt))

    def _terms(self, request: LoggedRequest) -> Terms:
        key = request.model, request.marked_only
        terms = self._known.get(key)
        if terms is None:
            if len(self._known) >= MODELS_KEPT:
                self._known.clear()
            terms = self._known[key] = self._look_up(*key)
        return terms

    def _look_up(self, model: str, marked_only: bool) -> Terms:
        row = self._prices.find(model)
        if row is not None:
            return Terms(row.minimum, row.ttl, row.ttl_long or row.ttl, row.step, row)
        if marked_only:
            return Terms(MARKED_MINIMUM, FIVE_MINUTES, ONE_HOUR, 1, None)
        return Terms(1, None, None, 1, None)
