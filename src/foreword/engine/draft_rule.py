"""How many tokens to draft: as many as make the step bring the most tokens a second, by what steps have taken. Pure."""

from collections.abc import Sequence

MOST = 32
"""Tokens of one draft."""
PRIOR_SLOPE = 0.06
"""What a row adds to a step of one, before anything is known: on CPUs weights are read once for all of them."""
LEVEL_WEIGHT = 0.2
"""Of the newest step in how fast the machine is now."""
SHAPE_WEIGHT = 0.03
"""Of the newest step in what its number of rows takes beside another one; the first ones weigh more."""
BANDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Numbers of rows whose cost is kept; others lie between them."""


class StepCost:
    """What a step of so many rows takes, of those that compute no prompts: a level that follows the machine, and a shape."""

    def __init__(self) -> None:
        self._level = 0.0
        self._shape = [1 + PRIOR_SLOPE * (rows - 1) for rows in BANDS]
        self._seen = [0] * len(BANDS)

    def observe(self, rows: int, seconds: float) -> None:
        """A step took so long. One of more rows than the last band's is passed over."""
        if not 0 < rows <= BANDS[-1] or seconds <= 0:
            return
        if not self._level:
            self._level = seconds / self._at(rows)
        ratio = seconds / (self._level * self._at(rows))
        self._level *= ratio**LEVEL_WEIGHT
        band = min(range(len(BANDS)), key=lambda band: abs(BANDS[band] - rows))
        self._seen[band] += 1
        self._shape[band] *= ratio ** max(SHAPE_WEIGHT, 1 / (1 + self._seen[band]))
        self._carry_on()

    def relative(self, rows: int) -> float:
        """What a step of so many rows takes, in units that are the same for all numbers."""
        return self._at(min(rows, BANDS[-1])) * max(1.0, rows / BANDS[-1])

    def _at(self, rows: int) -> float:
        above = next(band for band, bound in enumerate(BANDS) if bound >= rows)
        if BANDS[above] == rows:
            return self._shape[above]
        low, high = BANDS[above - 1], BANDS[above]
        share = (rows - low) / (high - low)
        return self._shape[above - 1] * (1 - share) + self._shape[above] * share

    def _carry_on(self) -> None:
        """Bands that were never seen lie between those that were, or go on from the nearest as is known at first."""
        known = [each for each, seen in enumerate(self._seen) if seen]
        for each in range(len(BANDS)):
            if self._seen[each]:
                continue
            below = [other for other in known if other < each]
            above = [other for other in known if other > each]
            if below and above:
                low, high = below[-1], above[0]
                share = (BANDS[each] - BANDS[low]) / (BANDS[high] - BANDS[low])
                self._shape[each] = self._shape[low] * (1 - share) + self._shape[high] * share
            else:
                nearest = below[-1] if below else above[0]
                self._shape[each] = self._shape[nearest] * _prior(BANDS[each]) / _prior(BANDS[nearest])


def _prior(rows: int) -> float:
    return 1 + PRIOR_SLOPE * (rows - 1)


def worthwhile(cost: StepCost, rows: int, chances: Sequence[tuple[float, int]]) -> list[int]:
    """How many tokens to draft for each of several requests, in a step of ``rows`` that bring a token each.

    ``chances``: of each, with which chance a drafted token is right if those before it are, and how many there are. Drafted
    tokens are added, the likeliest first, as long as the step brings more tokens a second for it.
    """
    added = sorted(
        ((chance**place, number) for number, (chance, most) in enumerate(chances) for place in range(1, most + 1)),
        key=lambda entry: -entry[0],
    )[: BANDS[-1]]
    best, taken, expected = rows / cost.relative(rows), 0, float(rows)
    for count, (probability, _) in enumerate(added, start=1):
        expected += probability
        rate = expected / cost.relative(rows + count)
        if rate > best:
            best, taken = rate, count
    lengths = [0] * len(chances)
    for _, number in added[:taken]:
        lengths[number] += 1
    return lengths
