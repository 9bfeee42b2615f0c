"""One's own server as a trace: an event sink that makes a line of every request that has ended.

What a line tells: when a request came, how long its prompt and its answer were, who may share with it, which other
requests begin as it does, and whether its conversation goes on, if the client said so. What it does not tell: a word, a
token id, a tenant's name. A block of tokens is named by a hash of all tokens up to its end, under a key that is drawn for
this trace and written nowhere: who has the file sees that two prompts begin alike, and cannot try whether one begins with
words that he knows.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from foreword.account import MissReason
from foreword.events import Event, RequestFinished
from foreword.replay.traces import FORMAT, VERSION
from foreword.tokens import TOKEN_BYTES

BLOCK_TOKENS = 4
"""Tokens a key: a replay tells shared tokens to within three. A trace takes about 1.4 bytes a token."""
KEY_BYTES = 4  # of a block; blocks of one place behind one prefix are told apart but for one chance in four thousand million
CHAIN_BYTES = 16


class TraceWriter:
    """Hands a line, without its end, to ``write`` for the trace's beginning and for every request that was looked up.

    secret
        At least 16 random bytes, for this trace only.
    start
        The engine's clock at the begin, in seconds.
    began
        The same moment in seconds since 1970: a later trace in the same file goes on behind this one.
    """

    def __init__(
        self, write: Callable[[str], None], secret: bytes, start: float, began: float, block_tokens: int = BLOCK_TOKENS
    ):
        self._write = write
        self._key = blake2b(secret, digest_size=32).digest()
        self._start = start
        self._width = block_tokens * TOKEN_BYTES
        self._put({"format": FORMAT, "version": VERSION, "began": began, "block_tokens": block_tokens})

    def __call__(self, event: Event) -> None:
        """Take an event; of a request that ended before the cache was asked there is nothing to tell."""
        if not isinstance(event, RequestFinished) or event.admitted is None:
            return
        line: dict[str, Any] = {
            "arrival": round(max(0.0, event.arrival - self._start), 6),
            "prompt": len(event.tokens) // TOKEN_BYTES,
            "output": len(event.generated) // TOKEN_BYTES,
            "scope": blake2b(event.namespace, digest_size=8, key=self._key, person=b"scope").hexdigest(),
            "keys": b64encode(self._keys(event)).decode(),
        }
        if event.account.hit_end is not None and event.account.hit_end.reason is MissReason.DISABLED:
            line["cache"] = False
        if event.conversation is not None:
            line["conversation"] = event.conversation.value
        self._put(line)

    def _keys(self, event: RequestFinished) -> bytes:
        """A key a block: the beginning of a chained hash, which an owner enters where the tokens become his alone."""
        tokens, private_from = event.tokens + event.generated, event.private_from * TOKEN_BYTES
        chain, keys, key, width = b"", [], self._key, self._width
        owner = b""
        if event.owner is not None:
            owner = blake2b(event.owner.encode("utf-8", "surrogatepass"), key=key, person=b"owner").digest()
        for at in range(0, len(tokens), width):
            if owner and private_from < at + width:
                chain, owner = chain + owner, b""
            chain = blake2b(chain + tokens[at : at + width], digest_size=CHAIN_BYTES, key=key).digest()
            keys.append(chain[:KEY_BYTES])
        return b"".join(keys)

    def _put(self, record: dict[str, Any]) -> None:
        self._write(json.dumps(record, separators=(",", ":")))
