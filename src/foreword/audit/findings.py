"""What an audit gives back."""

import hashlib
from dataclasses import dataclass, replace

from foreword.audit.provider_cache import Outcome


@dataclass(frozen=True)
class Finding:
    """One fault at one place.

    ``requests`` are those that it affects: they find more in a cache with the fix. ``label`` (the exact place), ``line``,
    ``position`` (in tokens) and the texts are of the first time, ``old_text`` in the earlier request (None: nothing to
    compare with). ``tokens_lost`` is what the replay with the fix applied did not compute again; ``dollars_lost`` what it
    cost less (None: no known price; below 0 where a fix costs more than it saves). ``log``: the file of the line, where
    there are several. ``about``: what the changing values are, by the words before them. ``model``: all that show it, up
    to five.
    """

    code: str
    name: str
    place: str
    model: str
    requests: int
    label: str
    line: int
    position: int
    old_text: str | None
    new_text: str
    tokens_lost: int
    dollars_lost: float | None
    summary: str
    advice: str
    log: str = ""
    about: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for the same fault in a later log, whichever model shows it first: rule, place, and what the values are;
        nothing of the values themselves or the amounts."""
        return hashlib.blake2b("\n".join((self.code, self.place, *self.about)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Totals:
    """Sums over the log, in tokens and US dollars. ``dollars`` are None when no model has a known price.

    ``seen``: what a perfect cache hits; ``cached``: what the provider's rules allow; ``repaired``: what they allow with all
    fixes applied (equal to ``cached`` when there is no finding). ``reported_*`` are sums of the usage in the log, over the
    ``reported`` requests that have one; ``reported_estimate`` are the prompt tokens counted here for the same requests.
    """

    requests: int = 0
    prompt: int = 0
    seen: int = 0
    cached: int = 0
    repaired_prompt: int = 0
    repaired_seen: int = 0
    repaired: int = 0
    dollars: float | None = None
    repaired_dollars: float | None = None
    reported: int = 0
    reported_prompt: int = 0
    reported_cached: int = 0
    reported_written: int = 0
    reported_estimate: int = 0

    def plus(self, outcome: Outcome) -> "Totals":
        """The sums with one request more."""
        return replace(
            self,
            requests=self.requests + 1,
            prompt=self.prompt + outcome.prompt,
            seen=self.seen + outcome.seen,
            cached=self.cached + outcome.cached,
            dollars=self.dollars if outcome.dollars is None else (self.dollars or 0.0) + outcome.dollars,
        )


@dataclass(frozen=True)
class HeatCell:
    """Prompts that parted from an earlier one at ``place``, ``bucket`` (index in BUCKETS): how many, how many of them by a
    fault, and the tokens that stood behind."""

    place: str
    bucket: int
    requests: int
    faults: int
    tokens: int


BUCKETS = (64, 256, 1_024, 4_096, 16_384, 65_536)
"""Upper ends (tokens from the beginning of the prompt) of the columns of the heat map; the last column has none."""


@dataclass(frozen=True)
class BrokenLine:
    """A line that was skipped, and why. ``log``: its file, where there are several."""

    line: int
    reason: str
    log: str = ""


@dataclass(frozen=True)
class Report:
    """The result of an audit. ``broken_lines`` are counted; ``broken`` are the first of them.

    ``kinds``: requests, and records without one, by the kind of log. ``models``: requests by model, and whether a price is
    known. ``not_paying``: faults that are there, but whose mending would cost more than it saves. ``passes``: how often the
    log was read. ``repeated``: prompts that were sent more than once, word for word; the requests that only repeat one; and
    how often one was sent at most. ``unknown_ignores``: codes in ``foreword_ignore`` with which no rule begins.
    """

    tokens: str
    lines: int
    kinds: dict[str, tuple[int, int]]
    broken_lines: int
    broken: tuple[BrokenLine, ...]
    foreign_lines: int
    untimed: int
    models: dict[str, tuple[int, bool]]
    totals: Totals
    findings: tuple[Finding, ...]
    not_paying: tuple[Finding, ...]
    heat: tuple[HeatCell, ...]
    unexplained: int
    forgotten_tokens: int
    ignored: int
    passes: int
    repeated: tuple[int, int, int] = (0, 0, 0)
    unknown_ignores: tuple[str, ...] = ()


def bucket_of(position: int) -> int:
    """The column of the heat map for a token position."""
    return next((i for i, end in enumerate(BUCKETS) if position < end), len(BUCKETS))
