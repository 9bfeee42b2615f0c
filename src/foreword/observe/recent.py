"""The requests of late, so that one of them can be explained: bounded in number and in tokens."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from foreword.errors import NotFoundError
from foreword.events import RequestFinished
from foreword.tokens import TOKEN_BYTES, shared_tokens

FORGOTTEN_NAMES = 16384  # ids of forgotten requests that are still known by name
NAMESPACES = 64  # how many others, those used last, are looked into
NEIGHBOURS = 16  # how far a look-up goes through prompts that were not there yet


class Neighbours(Protocol):
    """Earlier requests that a request may be compared with."""

    def newest(self) -> Iterator[RequestFinished]:
        """All of them, the last to finish first."""
        ...

    def nearest(self, request: RequestFinished, prompt: bytes) -> Iterator[RequestFinished]:
        """Those of the same namespace that were there before, those that share most with ``prompt`` (packed) first."""
        ...


class RecentRequests:
    """The last ``max_requests`` finished requests, as long as they have at most ``max_tokens`` tokens together."""

    def __init__(self, max_requests: int, max_tokens: int):
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.tokens = 0
        self._by_id: OrderedDict[str, RequestFinished] = OrderedDict()
        self._sorted: dict[bytes, list[tuple[bytes, str]]] = {}  # by namespace, the last used last: their tokens, in order
        self._unsorted: dict[str, None] = {}  # ids of requests that nobody has looked for yet
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._by_id

    def add(self, request: RequestFinished) -> None:
        """Remember a request; a second one with the same id takes the place of the first."""
        if request.request_id in self._by_id:
            self._drop(self._by_id.pop(request.request_id))
        self._by_id[request.request_id] = request
        self._forgotten.pop(request.request_id, None)
        self._unsorted[request.request_id] = None
        self.tokens += _size(request)
        while len(self._by_id) > self.max_requests or (self.tokens > self.max_tokens and len(self._by_id) > 1):
            name, oldest = self._by_id.popitem(last=False)
            self._drop(oldest)
            self._forgotten[name] = None
        while len(self._forgotten) > FORGOTTEN_NAMES:
            self._forgotten.popitem(last=False)

    def get(self, request_id: str) -> RequestFinished:
        """A request by its id. NotFoundError when it is unknown or forgotten; the message says which."""
        request = self._by_id.get(request_id)
        if request is not None:
            return request
        kept = f"The last {self.max_requests:,} finished requests are kept, up to {self.max_tokens:,} tokens in all"
        if request_id in self._forgotten:
            raise NotFoundError(f"Request {request_id!r} has been forgotten. {kept}; ask sooner, or keep more.")
        raise NotFoundError(f"Request {request_id!r} is not known: it never was, has not finished, or was long ago. {kept}.")

    def ids(self) -> Iterator[str]:
        """The ids of the requests, the last to finish first."""
        return reversed(self._by_id)

    def newest(self) -> Iterator[RequestFinished]:
        """The requests, the last to finish first."""
        return reversed(self._by_id.values())

    def nearest(self, request: RequestFinished, prompt: bytes, reach: int = NEIGHBOURS) -> Iterator[RequestFinished]:
        """Requests of the same namespace that were there before this one, those that share most with ``prompt`` first.

        Of another owner's request only what is everyone's counts.

        ``prompt`` is packed: what the cached prefix that is looked for begins with. Of prompts in order, ``reach`` on either
        side are looked at.
        """
        self._sort()
        entries = self._sorted.get(request.namespace, [])
        place = bisect_left(entries, (prompt, ""))
        near = entries[max(place - reach, 0) : place + reach]
        others = [self._by_id[name] for _, name in near]
        others.sort(key=lambda other: shared_tokens(prompt, visible_tokens(other, request)), reverse=True)
        for other in others:
            if other.request_id != request.request_id and came_before(other, request):
                yield other

    def beginning_with(self, namespace: bytes, tokens: bytes) -> RequestFinished | None:
        """A request whose prompt or answer goes on from these packed tokens; None if none is remembered."""
        self._sort()
        entries = self._sorted.get(namespace, [])
        place = bisect_left(entries, (tokens, ""))
        found = place < len(entries) and entries[place][0].startswith(tokens)
        return self._by_id[entries[place][1]] if found else None

    def elsewhere(self, request: RequestFinished) -> tuple[RequestFinished, int] | None:
        """The request of another namespace that shares most tokens with this one's prompt, and how many."""
        self._sort()
        best: tuple[RequestFinished, int] | None = None
        others = (namespace for namespace in reversed(self._sorted) if namespace != request.namespace)
        for namespace in islice(others, NAMESPACES):
            entries = self._sorted[namespace]
            place = bisect_left(entries, (request.tokens, ""))
            for tokens, name in entries[max(place - 1, 0) : place + 1]:
                shared = shared_tokens(request.tokens, tokens)
                if (best is None or shared > best[1]) and came_before(self._by_id[name], request):
                    best = self._by_id[name], shared
        return best

    def _sort(self) -> None:
        """Put the requests that have come since the last look-up in order."""
        for name in self._unsorted:
            request = self._by_id[name]
            entries = self._sorted.pop(request.namespace, [])
            insort(entries, _entry(request))
            self._sorted[request.namespace] = entries
        self._unsorted.clear()

    def _drop(self, request: RequestFinished) -> None:
        self.tokens -= _size(request)
        if request.request_id in self._unsorted:
            del self._unsorted[request.request_id]
            return
        entries = self._sorted[request.namespace]
        del entries[bisect_left(entries, _entry(request))]
        if not entries:
            del self._sorted[request.namespace]


class OwnRequests:
    """Of the requests of late those that the tenant of one of them has asked in the same namespace."""

    def __init__(self, recent: RecentRequests, request: RequestFinished):
        self._recent = recent
        self._tenant, self._namespace = request.tenant, request.namespace

    def newest(self) -> Iterator[RequestFinished]:
        """All of them, the last to finish first."""
        for other in self._recent.newest():
            if (other.tenant, other.namespace) == (self._tenant, self._namespace):
                yield other

    def nearest(self, request: RequestFinished, prompt: bytes) -> Iterator[RequestFinished]:
        """Those that were there before ``request``, those that share most with ``prompt`` (packed) first."""
        others = [other for other in self.newest() if other.request_id != request.request_id and came_before(other, request)]
        others.sort(key=lambda other: shared_tokens(prompt, visible_tokens(other, request)), reverse=True)
        yield from others


def visible_tokens(other: RequestFinished, request: RequestFinished) -> bytes:
    """The packed tokens of an earlier request, prompt and answer, as far as a later one of its namespace may know them."""
    if other.owner is None or other.owner == request.owner:
        return other.tokens + other.generated
    return other.tokens[: other.private_from * TOKEN_BYTES]


def came_before(other: RequestFinished, request: RequestFinished) -> bool:
    """Whether another request was in the cache when this one came."""
    if other.admitted is None or request.admitted is None:
        return False
    return (other.admitted, other.arrival) <= (request.admitted, request.arrival)


def _entry(request: RequestFinished) -> tuple[bytes, str]:
    return request.tokens + request.generated, request.request_id


def _size(request: RequestFinished) -> int:
    return (len(request.tokens) + len(request.generated)) // TOKEN_BYTES
