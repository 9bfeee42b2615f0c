"""What the cache saves: tokens, seconds by a cost model fitted to this machine's own steps, and money at a price.

A step costs a fixed time, a time for each prompt token, a time for each pair of a prompt token and a token before it
(attention), and a time for each request that generates. The *work* of prompt tokens [a, b) is the number of those pairs,
the sum of their positions.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEATURES = 4
FORGETTING = 0.94  # weight of a batch of observations after one more: the last thousand or so count
BATCH = 64


def span_work(start: int, end: int) -> int:
    """The sum of the positions of tokens [start, end)."""
    return (end * (end - 1) - start * (start - 1)) // 2


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds a step, a prompt token, a pair of tokens that attend, and a generating request; none is negative."""

    per_step: float
    per_token: float
    per_pair: float
    per_generating: float
    observations: int

    def prefill_seconds(self, tokens: int, work: int) -> float:
        """What so many prompt tokens with so much work cost, without the fixed cost of steps."""
        return self.per_token * tokens + self.per_pair * work


class CostFit:
    """Fits a CostModel to measured steps by least squares of the relative error; constant memory, older steps fade."""

    def __init__(self) -> None:
        self.observations = 0
        self._products: npt.NDArray[np.float64] = np.zeros((FEATURES, FEATURES))
        self._sums: npt.NDArray[np.float64] = np.zeros(FEATURES)
        self._waiting: list[tuple[float, int, int, int]] = []  # seconds, tokens, work, generating

    def observe(self, seconds: float, spans: Iterable[tuple[int, int]], generating: int = 0) -> None:
        """A step took ``seconds``: prompt tokens [start, end) of some requests, one token of ``generating`` others."""
        tokens = work = 0
        for start, end in spans:
            tokens += end - start
            work += span_work(start, end)
        if seconds <= 0 or not (tokens or generating):
            return
        self._waiting.append((seconds, tokens, work, generating))
        self.observations += 1
        if len(self._waiting) == BATCH:
            self._take_in()

    def model(self) -> CostModel:
        """The fit of what was observed; zeros before the first observation."""
        self._take_in()
        scale = np.sqrt(np.diag(self._products))
        scale[scale == 0] = 1.0
        products, sums = self._products / np.outer(scale, scale), self._sums / scale
        used = list(range(FEATURES))
        solution = np.zeros(FEATURES)
        while used and self.observations:
            found = np.linalg.lstsq(products[np.ix_(used, used)], sums[used], rcond=1e-9)[0]
            if found.min() >= 0:
                solution[used] = found / scale[used]
                break
            del used[int(found.argmin())]  # a negative cost is none: fit again without it
        step, token, pair, generating = solution.tolist()
        return CostModel(step, token, pair, generating, self.observations)

    def _take_in(self) -> None:
        """Add the waiting rows to the sums."""
        if len(self._waiting) == BATCH:
            self._products *= FORGETTING
            self._sums *= FORGETTING
        rows = np.array(self._waiting).reshape(-1, FEATURES)
        seconds = rows[:, :1].copy()
        rows[:, 0] = 1.0
        rows /= seconds
        self._products += rows.T @ rows
        self._sums += rows.sum(axis=0)
        self._waiting.clear()


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Money a million prompt tokens; ``read_factor`` times that for cached ones, ``write_factor`` for the others.

    ``source`` says where the price comes from, and of what date.
    """

    per_million: float
    currency: str = "USD"
    read_factor: float = 0.0
    write_factor: float = 1.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Savings:
    """What the cache saved so far.

    tokens, seconds
        Prompt tokens that were not computed, and what computing them would have taken by the cost model.
    prompt_tokens, prefill_seconds
        All prompt tokens, and what computing all of them would have taken.
    money, money_without_cache
        At the price: what was saved, and what all prompt tokens would have cost; None without a price.
    """

    tokens: int
    prompt_tokens: int
    seconds: float
    prefill_seconds: float
    cost_model: CostModel
    money: float | None = None
    money_without_cache: float | None = None
    price: TokenPrice | None = None


class SavingsCount:
    """Adds up what was reused and what was not, in tokens and work."""

    def __init__(self) -> None:
        self._reused_tokens = self._reused_work = self._prompt_tokens = self._prompt_work = 0
        self._computed_tokens = 0

    def observe(self, prompt_tokens: int, reused: int, computed: int) -> None:
        """A request: its first ``reused`` tokens were not computed for it, ``computed`` others were."""
        self._reused_tokens += reused
        self._reused_work += span_work(0, reused)
        self._computed_tokens += computed
        self._prompt_tokens += reused + computed
        self._prompt_work += span_work(0, min(prompt_tokens, reused + computed))

    def snapshot(self, costs: CostModel, price: TokenPrice | None = None) -> Savings:
        """The account at these costs. With a price per hour of one's own machine, see ``own_price``."""
        savings = Savings(
            tokens=self._reused_tokens,
            prompt_tokens=self._prompt_tokens,
            seconds=costs.prefill_seconds(self._reused_tokens, self._reused_work),
            prefill_seconds=costs.prefill_seconds(self._prompt_tokens, self._prompt_work),
            cost_model=costs,
        )
        return savings if price is None else self._priced(savings, price)

    def _priced(self, savings: Savings, price: TokenPrice) -> Savings:
        token = price.per_million / 1e6
        without = self._prompt_tokens * token
        paid = token * (self._reused_tokens * price.read_factor + self._computed_tokens * price.write_factor)
        return Savings(
            savings.tokens, savings.prompt_tokens, savings.seconds, savings.prefill_seconds, savings.cost_model,
            money=without - paid, money_without_cache=without, price=price,
        )  # fmt: skip


def own_price(savings: Savings, per_hour: float) -> TokenPrice | None:
    """The price of a million prompt tokens on a machine at ``per_hour`` US dollars; None before anything was measured."""
    if not (savings.prompt_tokens and savings.prefill_seconds):
        return None
    seconds = savings.prefill_seconds / savings.prompt_tokens
    return TokenPrice(per_hour / 3600 * seconds * 1e6, source=f"{per_hour:g} USD an hour for this machine")
