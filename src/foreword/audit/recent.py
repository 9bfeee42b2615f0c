"""The requests seen last, by number, bounded by the text they hold."""

import sys
from collections import OrderedDict

from foreword.audit.case import shared_pieces
from foreword.audit.request import LoggedRequest

PIECE_BYTES = 120
"""About what a piece takes in memory beside its text."""


class KeptRequests:
    """What two requests begin with in common is held once: the later one takes the pieces of the earlier."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._requests: OrderedDict[int, tuple[LoggedRequest, int]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._requests)

    def get(self, number: int | None) -> LoggedRequest | None:
        """A request by its number, if it is still kept."""
        found = self._requests.get(-1 if number is None else number)
        return found[0] if found else None

    def keep(self, number: int, request: LoggedRequest, like: LoggedRequest | None) -> LoggedRequest:
        """Keep a request, and return it as kept: with the pieces of ``like`` where it begins like it."""
        same = 0 if like is None else shared_pieces(like, request)
        if like is not None and same:
            request = request.with_pieces(like.pieces[:same] + request.pieces[same:])
        size = sum(sys.getsizeof(piece.text) for piece in request.pieces[same:]) + PIECE_BYTES * len(request.pieces)
        self._requests[number] = request, size
        self._size += size
        while self._size > self.max_bytes and len(self._requests) > 1:
            _, (_, freed) = self._requests.popitem(last=False)
            self._size -= freed
        return request
