"""Requests that were sent more than once, word for word: retries, or a client that asks everything twice."""

import hashlib
from collections import OrderedDict

from foreword.audit.request import LoggedRequest
from foreword.audit.tokens import Tokens

PROMPTS_KEPT = 50_000


class Repeats:
    """Counts prompts by their digest; those seen least lately are forgotten."""

    def __init__(self) -> None:
        self._times: OrderedDict[bytes, int] = OrderedDict()
        self._requests = self._again = self._most = 0

    def add(self, request: LoggedRequest, tokens: Tokens) -> None:
        """Enter a request."""
        name = f"{request.cache_name}\n{request.user}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(tokens.packed, digest_size=16, key=hashlib.blake2b(name, digest_size=16).digest()).digest()
        times = self._times.pop(digest, 0) + 1
        self._times[digest] = times
        if len(self._times) > PROMPTS_KEPT:
            self._times.popitem(last=False)
        self._requests += times == 2
        self._again += times > 1
        self._most = max(self._most, times if times > 1 else 0)

    @property
    def found(self) -> tuple[int, int, int]:
        """Prompts sent more than once, the requests that only repeat one, and how often at most."""
        return self._requests, self._again, self._most
