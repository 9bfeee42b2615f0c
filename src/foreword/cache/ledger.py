"""The ledger of one request while it runs: it writes the request's Account.

A ledger belongs to a request, not to a look-up: a preempted request keeps its ledger when it is admitted again, so a
prompt token is counted once, whatever happens to the request. What is computed a second time is counted apart.
"""

from foreword.account import Account, Drafted, HitEnd, Source
from foreword.errors import IntegrityError

NO_TOKENS = dict.fromkeys(Source, 0)  # by source; to be copied


class RequestLedger:
    """Accumulates the account of one request while it runs."""

    def __init__(self, prompt_tokens: int):
        self.prompt_tokens = prompt_tokens
        self.recomputed = 0
        self.hit_end: HitEnd | None = None
        self.high = 0  # tokens [0, high) have a source
        self._by_source: dict[Source, int] = NO_TOKENS.copy()
        self._drafts: dict[str, Drafted] = {}

    def enter(self, source: Source, start: int, end: int) -> None:
        """Tokens [start, end) of the request have their KV from ``source``; IntegrityError if that leaves a gap."""
        high = self.high
        if start > high:
            raise IntegrityError(f"Ledger: tokens {high} to {start} have no source.")
        if source is Source.COMPUTED and start < high:
            self.recomputed += max(0, min(end, high) - start)
        if end <= high:
            return
        self.high = end
        new = (end if end < self.prompt_tokens else self.prompt_tokens) - high
        if new > 0:
            self._by_source[source] += new

    def draft(self, drafter: str, drafted: int, accepted: int) -> None:
        """A step computed so many tokens that a drafter had proposed, and the first ``accepted`` of them were right."""
        self._drafts[drafter] = self._drafts.get(drafter, Drafted()).plus(Drafted(drafted, accepted))

    def account(self) -> Account:
        """The account so far; raises IntegrityError when its sources are not the tokens that have one."""
        by_source = dict(self._by_source)
        account = Account(self.prompt_tokens, by_source, self.recomputed, self.hit_end, dict(self._drafts))
        if account.processed != min(self.high, self.prompt_tokens):
            raise IntegrityError(
                f"Ledger: {account.processed} tokens have a source in the books; the first {self.high} were entered."
            )
        return account
