"""Whether it pays to store tokens at their first use. Pure."""

RETURNS = 4
"""So many tokens may be stored for each one that came back from a store, or was evicted and asked for in vain."""


class FirstUse:
    """A credit in tokens, to spare disks: spent by what is stored at its first use, earned by what is asked for again.

    Where memory holds all that is asked for again nothing is earned, and what is used once is not written for ever. Where
    it does not, what is evicted is in a store already.
    """

    def __init__(self, tokens: int):
        """``tokens``: the credit at the beginning, and at most."""
        self._most = self._credit = tokens

    def came_back(self, tokens: int) -> None:
        """So many tokens were asked for again that memory did not hold any more."""
        self._credit = min(self._most, self._credit + RETURNS * tokens)

    def pays(self, tokens: int) -> bool:
        """Whether so many are to be stored; they are counted if so."""
        if self._credit <= 0:
            return False
        self._credit -= tokens
        return True
