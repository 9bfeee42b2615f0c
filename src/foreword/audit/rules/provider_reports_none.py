"""FW401."""

from foreword.audit.case import Case, Sighting
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.rules.reported import WORTH_REPORTED, expected, sight_reported


class ProviderReportsNone(Rule):
    """The provider reports no cached token in any request, although its own rules would have let it.

    ## Why it costs

    What could be read at a tenth of the price is paid in full. Something between the client and the provider undoes caching:
    a gateway that drops `cache_control`, a proxy that adds a value to each request, a key that spreads requests.

    ## Example

        replayed by the provider's rules: 12,000 of 15,000 tokens cached
        reported in every answer:         "cache_read_input_tokens": 0

    ## Fix

    Send one request twice to the provider directly, and compare its usage with that through the gateway; then look at what
    the gateway sends on (marks, headers, order of keys). With OpenAI, keep one `prompt_cache_key` for a conversation.
    """

    code = "FW401"
    name = "provider-reports-none"
    explains_break = False
    needs_saving = False

    def __init__(self) -> None:
        self._hits = self._misses = 0

    def examine(self, case: Case) -> Sighting | None:
        usage, hoped = case.request.usage, expected(case)
        if usage is None:
            return None
        self._hits += usage.cached > 0
        if usage.cached or hoped < WORTH_REPORTED:
            return None
        self._misses += 1
        return sight_reported(case, "usage", hoped, f"0 of {hoped} expected tokens were cached")

    def withdrawn(self) -> frozenset[str]:
        return frozenset({"usage"}) if self._hits or self._misses < 2 else frozenset()

    def fixer(self) -> Fixer:
        return lambda request: request
