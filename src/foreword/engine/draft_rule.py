"""How many tokens to draft: as many as make the step bring the most tokens a second, by what steps have taken. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from math import log

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
NEAREST_BAND = tuple(min(BANDS, key=lambda band: abs(band - rows)) for rows in range(BANDS[-1] + 1))
"""By number of rows."""
LEAST_CHANCE = 0.02
"""Of a token that is drafted: no further row of a step costs less beside it."""


class StepCost:
    """What a step of so many rows takes, of those that compute no prompts: a level that follows the machine, and a shape."""

    def __init__(self) -> None:
        self._level = 0.0
        self._rows: list[int] = []  # of the bands that were seen, ascending; with each the shape there, and how often
        self._shape: list[float] = []
        self._seen: list[int] = []

    def observe(self, rows: int, seconds: float) -> None:
        """A step took so long. One of more rows than the last band's is passed over."""
        if not 0 < rows <= BANDS[-1] or seconds <= 0:
            return
        expected = self._at(rows)
        if not self._level:
            self._level = seconds / expected
        ratio = seconds / (self._level * expected)
        self._level *= ratio**LEVEL_WEIGHT
        place = self._place(NEAREST_BAND[rows])
        self._seen[place] += 1
        self._shape[place] *= ratio ** max(SHAPE_WEIGHT, 1 / (1 + self._seen[place]))

    def relative(self, rows: int) -> float:
        """What a step of so many rows takes, in units that are the same for all numbers."""
        return self._at(min(rows, BANDS[-1])) * max(1.0, rows / BANDS[-1])

    def seconds(self, rows: int) -> float:
        """What a step of so many rows takes now; 0 as long as none was seen."""
        return self._level * self.relative(rows)

    def _place(self, band: int) -> int:
        """Where a band stands among those that were seen; one that was not is entered as it was thought to be."""
        place = bisect_left(self._rows, band)
        if place == len(self._rows) or self._rows[place] != band:
            self._shape.insert(place, self._at(band))
            self._rows.insert(place, band)
            self._seen.insert(place, 0)
        return place

    def _at(self, rows: int) -> float:
        """The shape: straight between bands that were seen, and beyond them as is known at first."""
        above = bisect_left(self._rows, rows)
        if above < len(self._rows) and self._rows[above] == rows:
            return self._shape[above]
        if 0 < above < len(self._rows):
            low, high = self._rows[above - 1], self._rows[above]
            share = (rows - low) / (high - low)
            return self._shape[above - 1] * (1 - share) + self._shape[above] * share
        if not self._rows:
            return _prior(rows)
        nearest = min(above, len(self._rows) - 1)
        return self._shape[nearest] * _prior(rows) / _prior(self._rows[nearest])


def _prior(rows: int) -> float:
    return 1 + PRIOR_SLOPE * (rows - 1)


def reach(chance: float) -> int:
    """How many tokens of a draft may be worth computing, if each is right with a chance where those before it are."""
    if chance < LEAST_CHANCE:
        return 0
    return MOST if chance**MOST >= LEAST_CHANCE else int(log(LEAST_CHANCE) / log(chance))


def worthwhile(cost: StepCost, rows: int, chances: Sequence[tuple[float, int]]) -> list[int]:
    """How many tokens to draft for each of several requests, in a step of ``rows`` that bring a token each.

    ``chances``: of each, with which chance a drafted token is right if those before it are, and how many there are. Drafted
    tokens are added, the likeliest first, as long as the step brings more tokens a second for it.
    """
    if not chances:
        return []
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
