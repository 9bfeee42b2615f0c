"""When loading a block takes longer than computing it, by what both have taken so far. Pure."""

from foreword.account import Source

LEAST_TOKENS = 64
"""Steps of fewer tokens say little of how fast prompts are computed."""
WEIGHT = 0.25
"""Of the newest measurement in a rate."""
TRIED_AGAIN = 20
"""Of so many loads that would be slower one is tried all the same: stores get faster again."""


class LoadRule:
    """Rates in tokens a second: of computing prompts, and of loading from each kind of store."""

    def __init__(self) -> None:
        self._computing: float | None = None
        self._loading: dict[Source, float] = {}
        self._refused = 0

    def computed(self, tokens: int, seconds: float) -> None:
        """A step has computed so many tokens."""
        if tokens >= LEAST_TOKENS and seconds > 0:
            self._computing = _mixed(self._computing, tokens / seconds)

    def loaded(self, source: Source, tokens: int, seconds: float) -> None:
        """So many tokens have been loaded."""
        if seconds > 0:
            self._loading[source] = _mixed(self._loading.get(source), tokens / seconds)

    def is_slower(self, source: Source) -> bool:
        """Whether what lies there is to be computed instead; not while one of the rates is unknown."""
        loading = self._loading.get(source)
        if loading is None or self._computing is None or loading >= self._computing:
            return False
        self._refused += 1
        return self._refused % TRIED_AGAIN != 0

    def load_rate(self, source: Source) -> float | None:
        """Tokens a second that come from there; None: nothing has."""
        return self._loading.get(source)

    def seconds_to_compute(self, tokens: int) -> float:
        """How long computing so many tokens takes; infinite while that is unknown."""
        return tokens / self._computing if self._computing else float("inf")


def _mixed(before: float | None, now: float) -> float:
    return now if before is None else before + WEIGHT * (now - before)
