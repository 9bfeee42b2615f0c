"""One pass of the log's requests through two caches: a perfect one, and the provider's as its rules describe it.

The perfect cache forgets nothing and shares a prefix from the moment its first request arrives; it hits every token
that an earlier request of the same model and scope began with. The provider's cache has a minimum, a TTL, perhaps marks,
and an entry can be read only once the request that writes it has begun to answer.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass

from foreword.audit.prefix_tree import PrefixTree
from foreword.audit.provider_terms import FIVE_MINUTES, Terms
from foreword.audit.request import LoggedRequest
from foreword.audit.tokens import Tokens
from foreword.prompt.vendor_forms.anthropic import LOOK_BACK
from foreword.tokens import TOKEN_BYTES

ENTRIES_KEPT = 50_000
BATCH_PRICE = 0.5
"""What OpenAI and Anthropic ask for a request in a batch, of the usual price."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request found, in tokens. ``seen`` is the perfect cache's hit, ``cached`` the provider's by its rules.

    ``written`` and ``written_long`` are charged as cache writes. ``expired`` and ``in_flight`` were seen but could not be
    read: they had expired, or were still being computed. ``readable`` would have been, had it been marked (see Visit, also
    for ``nearest``). ``dollars``: None for unknown models.
    """

    prompt: int
    seen: int
    cached: int
    written: int
    written_long: int
    expired: int
    in_flight: int
    readable: int
    nearest: int | None
    dollars: float | None

    @property
    def computed(self) -> int:
        """Tokens that even the perfect cache has to compute."""
        return self.prompt - self.seen

    @property
    def uncached(self) -> int:
        """Tokens that the provider computes."""
        return self.prompt - self.cached


class CacheModel:
    """Both caches as one pass fills them. Bounded: the tree by tokens, the marks' entries by number."""

    def __init__(self, max_tokens: int, first_token_seconds: float):
        self.tree = PrefixTree(max_tokens)
        self.first_token_seconds = first_token_seconds
        self._entries: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # digest → expires, readable from
        self._number = 0

    def feed(self, request: LoggedRequest, tokens: Tokens, terms: Terms, *, answered: bool = False) -> Outcome:
        """Play one request; its ``number`` is how many were fed before. ``answered``: it goes on from a turn whose answer it
        holds, so what it shares with earlier requests is no longer in flight, whatever the times say."""
        now = -math.inf if request.time is None else request.time
        wait = self.first_token_seconds if request.first_token is None else request.first_token
        ready = now + wait
        lifetime = request.lifetime or terms.lifetime
        until = math.inf if lifetime is None or request.time is None else now + lifetime
        visit = self.tree.visit(request.cache_name, tokens.packed, self._number, now, until, ready)
        self._number += 1
        seen = min(visit.seen, len(tokens) - 1)
        readable = visit.kept if answered else visit.readable
        if request.marked_only:
            late = math.inf if answered else now
            cached, written, written_long, expired, in_flight = self._marked(request, tokens, terms, (now, late), ready)
        else:
            cached = _automatic(readable, len(tokens), terms)
            written, written_long = (len(tokens) - cached if len(tokens) >= terms.minimum else 0), 0
            expired = max(0, _automatic(visit.seen, len(tokens), terms) - _automatic(visit.kept, len(tokens), terms))
            in_flight = max(0, _automatic(visit.kept, len(tokens), terms) - cached)
        plain = len(tokens) - cached - written - written_long
        dollars = None if terms.price is None else terms.price.dollars(plain, cached, written, written_long)
        if dollars is not None and request.batch:
            dollars *= BATCH_PRICE
        return Outcome(
            len(tokens), seen, cached, written, written_long, expired, in_flight, readable, visit.nearest, dollars
        )

    def _marked(
        self, request: LoggedRequest, tokens: Tokens, terms: Terms, times: tuple[float, float], ready: float
    ) -> tuple[int, int, int, int, int]:
        """(cached, written, written long, expired, in flight) where only marked prefixes are cached.

        ``times``: of the request, and until when an entry must have become readable.
        """
        now, late = times
        marks = [(i, tokens.end_of(i)) for i in request.marks()]
        marks = [(i, end) for i, end in marks if end >= terms.minimum]
        if not marks:
            return 0, 0, 0, 0, 0
        digests = _digests(request, tokens)
        cached = expired = in_flight = 0
        for i, _ in marks:
            for piece in range(i, max(-1, i - LOOK_BACK), -1):
                entry, end = self._entries.get(digests[piece]), tokens.end_of(piece)
                if entry is None:
                    continue
                if entry[0] < now:
                    expired = max(expired, end)
                elif entry[1] > late:
                    in_flight = max(in_flight, end)
                else:
                    cached = max(cached, end)
                    break
        written, written_long, at = 0, 0, cached
        for i, end in marks:
            lifetime = request.pieces[i].mark or FIVE_MINUTES
            self._write(digests[i], math.inf if request.time is None else now + lifetime, now, ready)
            if end > at:
                if lifetime > FIVE_MINUTES:
                    written_long += end - at
                else:
                    written += end - at
                at = end
        return min(cached, len(tokens)), written, written_long, max(0, expired - cached), max(0, in_flight - cached)

    def _write(self, digest: bytes, until: float, now: float, ready: float) -> None:
        known = self._entries.pop(digest, None)
        if known is not None and known[0] >= now:  # a hit refreshes it
            until, ready = max(until, known[0]), min(ready, known[1])
        self._entries[digest] = until, ready
        if len(self._entries) > ENTRIES_KEPT:
            self._entries.popitem(last=False)


def _automatic(shared: int, total: int, terms: Terms) -> int:
    """Tokens cached where nothing needs a mark: from the minimum on, in whole steps, never the last token."""
    shared = min(shared, total - 1)
    return shared - shared % terms.step if shared >= terms.minimum else 0


def _digests(request: LoggedRequest, tokens: Tokens) -> list[bytes]:
    """For each piece a name of the prompt up to its end, within its cache."""
    running = hashlib.blake2b(request.cache_name.encode("utf-8", "surrogatepass"), digest_size=16)
    view, at = memoryview(tokens.packed), 0
    found: dict[int, bytes] = {}
    for piece, end in zip(tokens.order, tokens.ends, strict=True):
        running.update(view[at * TOKEN_BYTES : end * TOKEN_BYTES])
        found[piece] = running.copy().digest()
        at = end
    return [found[i] for i in range(len(found))]
