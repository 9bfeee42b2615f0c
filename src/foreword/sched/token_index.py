"""Where the last tokens of a text stood before in it, and what followed there.

Of every pair of tokens the places are chained, the latest first. Of the latest of them the one is taken with which most
tokens agree backwards. Once found, a place is followed as long as it is right; an answer that leaves it, as where a copy
changes one name, is looked for a little behind the place where it left.
"""

import numpy as np

from foreword.sched.drafter import NOTHING, Proposal

CANDIDATES = 12
"""Places of a pair that are compared."""
LONGEST = 16
"""Tokens that are compared backwards."""
FOLLOWED = 2
"""A place is followed without another look while so many tokens agree."""
RESUMED = 32
"""So far behind the place where an answer left what it copied its last token is looked for."""
CERTAIN = 4
"""A place with which so many tokens agree is not given up for one that is near."""


class TokenIndex:
    """The places of pairs in a text of tokens; a place is that of the token behind the pair.

    tokens
        int32; grows in place behind the first ``count``.
    end
        Places are below it: what comes behind is compared with what stands before, and does not stand there itself.
    """

    def __init__(self, tokens: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]", count: int, end: int):
        self._tokens = tokens.data
        self._count = count
        self._end = end
        self._before = np.full(len(tokens) + 1, -1, np.int32).data  # by place: the one before it with the same pair
        self._latest: dict[int, int] = {}  # by pair
        self._last: dict[int, int] = {}  # by token: the latest place behind it
        self._followed = -1
        self._agreed = 0
        self._left = -1
        if count > 2:
            self._enter_all(tokens[:count])

    def follow(self, place: int) -> None:
        """What comes next is most likely what stands there."""
        self._followed, self._agreed = place, LONGEST

    def take(self, count: int) -> None:
        """There are ``count`` tokens now."""
        for at in range(self._count, count):
            if at < self._end:
                self._enter(at)
            if self._followed >= 0:
                if self._tokens[at] == self._tokens[self._followed]:
                    self._followed, self._agreed = self._followed + 1, self._agreed + 1
                else:
                    self._left, self._followed, self._agreed = self._followed, -1, 0
        self._count = count

    def propose(self, most: int) -> Proposal:
        """What may follow."""
        if self._agreed < FOLLOWED:
            place, agreed = self._find()
            if place < 0:
                return NOTHING
            self._followed, self._agreed = place, agreed
        place, end = self._followed, min(self._count, self._end)
        known: list[int] = self._tokens[place : min(place + most, end)].tolist()
        while len(known) < most and end == self._count:  # a period goes on
            known += known[: most - len(known)]
        return Proposal(known, self._agreed)

    def _find(self) -> tuple[int, int]:
        """The best place for what is there now, and how many tokens speak for it; -1 if there is none."""
        count, tokens = self._count, self._tokens
        if count < 2:
            return -1, 0
        place, agreed = self._latest.get(tokens[count - 2] << 32 | tokens[count - 1], -1), 0
        if place >= 0:
            place, agreed = self._longest(place)
        if agreed < CERTAIN and self._left >= 0:
            wanted = tokens[count - 1]
            for near in range(self._left, min(self._left + RESUMED, count - 1, self._end - 1)):
                if tokens[near] == wanted:
                    return near + 1, 1
        if place >= 0:
            return place, agreed
        return self._last.get(tokens[count - 1], -1), 1

    def _longest(self, place: int) -> tuple[int, int]:
        """Of a place and those before it in the chain the one with which most tokens agree."""
        tokens, end = self._tokens, self._count
        best, longest = -1, 0
        for _ in range(CANDIDATES):
            if place < 0:
                break
            agreed = 2
            while agreed < LONGEST and agreed < place and tokens[place - agreed - 1] == tokens[end - agreed - 1]:
                agreed += 1
            if agreed > longest:
                best, longest = place, agreed
                if longest == LONGEST:
                    break
            place = self._before[place]
        return best, longest

    def _enter(self, at: int) -> None:
        """The token at a place is known now: what comes before it leads here."""
        tokens = self._tokens
        if at >= 1:
            self._last[tokens[at - 1]] = at
        if at >= 2:
            pair = tokens[at - 2] << 32 | tokens[at - 1]
            self._before[at] = self._latest.get(pair, -1)
            self._latest[pair] = at

    def _enter_all(self, tokens: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]") -> None:
        """The same for all places of some tokens, at once."""
        pairs = tokens[:-2].astype(np.int64) << 32 | tokens[1:-1]
        order = np.argsort(pairs, kind="stable")
        ordered, places = pairs[order], order.astype(np.int32) + 2
        same = ordered[1:] == ordered[:-1]
        np.asarray(self._before)[places[1:]] = np.where(same, places[:-1], -1)
        latest = np.append(~same, True)
        self._latest = dict(zip(ordered[latest].tolist(), places[latest].tolist(), strict=True))
        self._last = dict(zip(tokens[:-1].tolist(), range(1, len(tokens)), strict=True))
