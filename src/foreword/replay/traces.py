"""Traces of requests: which tokens prompts share, when they came, how long the answers were. No words, no token ids.

``read_trace`` takes a binary stream, packed with gzip or not, and recognises what is in it:

    mooncake    a request a line: ``timestamp`` (ms), ``input_length``, ``output_length``, ``hash_ids``: an id a block of 512
                tokens (Mooncake's own traces) or 64 (LMCache's agent trace); equal ids are equal blocks behind equal ones
    sessions    a coding agent's session a line: ``block``, ``reqs``: [seconds, prompt tokens, answer tokens, ..., [[first
                id, last id], ...]], ids being local to the session; ``sub`` holds the requests of a subagent
    lengths     ``TIMESTAMP,ContextTokens,GeneratedTokens`` (Azure): lengths only, so nothing is shared
    foreword    what ``TraceWriter`` writes

Every reader is a generator over lines: memory does not grow with the trace.
"""

import gzip
import heapq
import io
import json
import math
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from foreword.cache import ConversationState
from foreword.errors import TraceError
from foreword.tokens import TOKEN_BYTES, TOKEN_TYPE

FORMAT = "foreword-trace"
VERSION = 1
MAX_LINE = 64 * 2**20  # bytes
LOOKED_AT = 100  # requests from which the size of a trace's blocks is told
BLOCK_SIZES = (512, 256, 128, 64, 32, 16)
SESSION_SECONDS = 47.0
"""From the begin of a session to that of the next: the published sessions do not say when they began. With this pause (four
and a half hours for all) caches of two sizes hit as an independent simulator measured (tests/replay/test_published.py)."""
REORDERED, REORDERED_KEYS = 4096, 2**22
"""So many requests, and keys of them (32 MiB), are looked at to put a trace in the order of ends into that of arrivals."""
LENGTHS_BLOCK = 512
NO_KEYS: npt.NDArray[np.uint64] = np.empty(0, np.uint64)

Keys = npt.NDArray[np.uint64]
Lines = Iterator[tuple[int, str]]
"""Numbers, from 1, and lines."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """A request of a trace: lengths, and a key for every block of its tokens.

    arrival
        Seconds since the trace's first request.
    keys
        A key a block of ``block_tokens`` tokens: of the prompt and, if they ``keys_go_on``, of the answer behind it. Equal
        keys stand for equal tokens; tokens without a key are like no others.
    scope
        Who may share with whom: requests of two scopes never share.
    conversation
        Whether it goes on, as the client says; None: it says nothing.
    number
        Which request of the trace it is, to tell its own tokens from others'.
    """

    arrival: float
    prompt_tokens: int
    output_tokens: int
    keys: Keys
    block_tokens: int
    scope: str = ""
    uses_cache: bool = True
    keys_go_on: bool = False
    number: int = 0
    conversation: ConversationState | None = None

    def prompt(self, scale: int = 1) -> bytes:
        """The prompt's tokens, packed; one of them stands for ``scale`` of the trace."""
        return self._tokens(0, self.length(scale), scale)

    def answer(self, scale: int = 1) -> bytes:
        """The tokens of the answer, packed."""
        start = self.length(scale)
        return self._tokens(start, start + self.output_tokens // scale, scale)

    def without_answer(self) -> "TraceRequest":
        """The same request, asked for no more than its first token: nothing but the prompt enters a cache."""
        return replace(self, output_tokens=1)

    def length(self, scale: int = 1) -> int:
        """Tokens of ``prompt(scale)``: one at least, if the prompt has any."""
        return max(self.prompt_tokens // scale, min(1, self.prompt_tokens))

    def _tokens(self, start: int, end: int, scale: int) -> bytes:
        width = max(1, self.block_tokens // scale)
        known = len(self.keys) * width if self.keys_go_on else min(len(self.keys) * width, self.length(scale))
        middle = max(start, min(end, known))
        first = start // width
        keyed = block_tokens(self.keys[first : -(-middle // width)], width) if middle > start else b""
        own = mixed(np.array([self.number], np.uint64) + OWN)
        rest = block_tokens(own + np.uint64(middle), end - middle) if end > middle else b""
        return keyed[(start - first * width) * TOKEN_BYTES : (middle - first * width) * TOKEN_BYTES] + rest


@dataclass(frozen=True, slots=True)
class Trace:
    """What a stream holds: the kind of trace, and its requests in the order of their arrivals."""

    kind: str
    requests: Iterator[TraceRequest]


def read_trace(stream: IO[bytes], block_tokens: int | None = None) -> Trace:
    """The trace in a stream; TraceError, with the number of the line, for what is none.

    ``block_tokens`` is the size of the blocks of ``hash_ids``; None: it is told from the first requests.
    """
    lines = _lines(stream)
    first = next(lines, None)
    if first is None:
        raise TraceError("The trace is empty.")
    number, text = first
    lines = chain([first], lines)
    if text.startswith("{"):
        head = _json(number, text)
        if head.get("format") == FORMAT:
            return Trace("foreword", _foreword(lines))
        if "reqs" in head:
            return Trace("sessions", _sessions(lines))
        if "hash_ids" in head:
            return Trace("mooncake", _hash_ids(lines, block_tokens))
    elif text.startswith("TIMESTAMP,"):
        return Trace("lengths", _lengths(lines))
    raise TraceError(
        f"Line {number} is of no trace that is known here: {text[:60]!r}. Known are JSON lines with 'hash_ids' (Mooncake, "
        f"LMCache) or 'reqs' (sessions), what 'foreword serve --trace' writes, and CSV with the columns TIMESTAMP, "
        f"ContextTokens, GeneratedTokens."
    )


def block_tokens(keys: Keys, width: int) -> bytes:
    """``width`` packed tokens for every key, the same for equal keys, others (but for chance) for others."""
    spread = mixed(keys)[:, None] + np.arange(width, dtype=np.uint64) * GOLDEN
    return (spread >> np.uint64(33)).astype(TOKEN_TYPE).tobytes()


def mixed(keys: Keys) -> Keys:
    """64-bit keys spread over all bits (the finalizer of SplitMix64), one to one."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


GOLDEN = np.uint64(0x9E3779B97F4A7C15)
OWN = np.uint64(0x5851F42D4C957F2D)  # where the keys of tokens without one begin


def _lines(stream: IO[bytes]) -> Lines:
    """The lines of a stream that are not empty. TraceError for what is no text."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))
    packed = buffered.peek(2)[:2] == b"\x1f\x8b"
    plain = cast("IO[bytes]", gzip.GzipFile(fileobj=buffered)) if packed else buffered
    number = 0
    try:
        while line := plain.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise TraceError(f"Line {number} is longer than {MAX_LINE >> 20} MiB: this is no trace.")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text:
                yield number, text
    except UnicodeDecodeError as error:
        message = f"Line {number} is no UTF-8 text ({error.reason}). Traces are text, plain or packed with gzip."
        raise TraceError(message) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(f"After line {number} the gzip data is damaged or cut off: {error}.") from None


def _json(number: int, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise TraceError(f"Line {number} is no JSON: {error}. A trace in JSON has an object a line.") from None
    if not isinstance(found, dict):
        raise TraceError(f"Line {number} is JSON, but no object: {text[:60]!r}.")
    return found


def _field(number: int, record: Mapping[str, Any], name: str, kinds: type | tuple[type, ...] = int) -> Any:
    """A field of a line; a number must be finite and not negative."""
    value = record.get(name)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TraceError(f"Line {number}: {name!r} is {value!r}.")
    if isinstance(value, int | float) and not (math.isfinite(value) and 0 <= value < 2**53):
        raise TraceError(f"Line {number}: {name!r} is {value!r}; it must be a number from 0 on.")
    return value


def _keys(number: int, ids: list[Any], high: int = 0) -> Keys:
    """Ids of blocks as keys; ``high`` keeps those of one session apart from those of another."""
    try:
        found = np.array(ids, np.uint64)
        if found.ndim == 1 and (not len(found) or found.max() < 2**32):
            return found + np.uint64(high << 32)
    except (OverflowError, TypeError, ValueError):
        pass
    raise TraceError(f"Line {number}: ids of blocks must be whole numbers from 0 to 2**32 - 1, got {str(ids)[:60]}.")


def _said(number: int, record: Mapping[str, Any]) -> ConversationState | None:
    """What the client said of the conversation; the column may be left out."""
    word = record.get("conversation")
    if word is None or word in list(ConversationState):
        return None if word is None else ConversationState(word)
    raise TraceError(f"Line {number}: 'conversation' is {word!r}; it is {' or '.join(ConversationState)}, or left out.")


def _in_order(requests: Iterable[TraceRequest]) -> Iterator[TraceRequest]:
    """By arrival, counted from the first one. What lies further apart than the window comes as late as its place."""
    window: list[tuple[float, int, TraceRequest]] = []
    keys, start, latest = 0, 0.0, -1.0  # before the first

    def first() -> TraceRequest:
        nonlocal keys, start, latest
        request = heapq.heappop(window)[2]
        keys -= len(request.keys)
        start = request.arrival if latest < 0 else start
        latest = max(request.arrival - start, latest, 0.0)
        return replace(request, arrival=latest)

    for number, request in enumerate(requests):
        heapq.heappush(window, (request.arrival, number, request))
        keys += len(request.keys)
        while len(window) > REORDERED or keys > REORDERED_KEYS:
            yield first()
    while window:
        yield first()


def _hash_ids(lines: Lines, size: int | None) -> Iterator[TraceRequest]:
    """Mooncake's form."""
    known = [_hash_record(number, text) for number, text in islice(lines, LOOKED_AT)]
    size = size or _block_size(known)

    def requests() -> Iterator[TraceRequest]:
        for record in chain(known, (_hash_record(number, text) for number, text in lines)):
            number, seconds, prompt, output, keys, said = record
            yield TraceRequest(seconds, prompt, output, keys, size, number=number, conversation=said)

    return _in_order(requests())


_HashRecord = tuple[int, float, int, int, Keys, ConversationState | None]


def _hash_record(number: int, text: str) -> _HashRecord:
    record = _json(number, text)
    seconds = _field(number, record, "timestamp", (int, float)) / 1000
    lengths = _field(number, record, "input_length"), _field(number, record, "output_length")
    keys = _keys(number, _field(number, record, "hash_ids", list))
    return number, seconds, *lengths, keys, _said(number, record)


def _block_size(known: list[_HashRecord]) -> int:
    """The size of block by which most prompts have as many blocks as ids."""
    fits = {size: sum(-(-prompt // size) == len(keys) for _, _, prompt, _, keys, _ in known) for size in BLOCK_SIZES}
    best = max(BLOCK_SIZES, key=lambda size: fits[size])
    if fits[best] < 0.9 * len(known):
        raise TraceError(
            f"How many tokens a block of 'hash_ids' has cannot be told: {best} fits {fits[best]} of the first {len(known)} "
            f"requests. Say it with --trace-block."
        )
    return best


def _sessions(lines: Lines) -> Iterator[TraceRequest]:
    """Coding agents' sessions; one begins every SESSION_SECONDS, and only those under way are in memory."""
    waiting: list[tuple[float, int, TraceRequest]] = []
    count = 0
    for session, (number, text) in enumerate(lines):
        begin = session * SESSION_SECONDS
        while waiting and waiting[0][0] < begin:
            yield heapq.heappop(waiting)[2]
        for request in _session(number, _json(number, text), begin, session):
            count += 1
            heapq.heappush(waiting, (request.arrival, count, replace(request, number=count)))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _session(number: int, record: dict[str, Any], begin: float, session: int) -> Iterator[TraceRequest]:
    size = _field(number, record, "block")
    if not size:
        raise TraceError(f"Line {number}: 'block' is 0; a block has at least 1 token.")
    for request in _field(number, record, "reqs", list):
        start, own = begin, [request]
        if isinstance(request, dict):
            start, own = begin + _field(number, request, "t", (int, float)), _field(number, request, "sub", list)
        yield from (_session_request(number, each, start, session, size) for each in own)


def _session_request(number: int, each: list[Any], start: float, session: int, size: int) -> TraceRequest:
    try:
        seconds, prompt, output, *_, runs = each
        count = sum(last - first + 1 for first, last in runs)
        entry = {"t": seconds, "tokens": prompt, "answer": output, "ids": count}
    except (TypeError, ValueError):
        message = f"a request is [t, tokens, answer's tokens, ..., [[first id, last id], ...]]; got {str(each)[:60]}."
        raise TraceError(f"Line {number}: {message}") from None
    prompt, count = _field(number, entry, "tokens"), _field(number, entry, "ids")
    if count > -(-prompt // size):
        raise TraceError(f"Line {number}: {count} blocks of {size} tokens are more than a prompt of {prompt} tokens has.")
    ids = [id for first, last in runs for id in range(first, last + 1)]
    seconds, output = _field(number, entry, "t", (int, float)), _field(number, entry, "answer")
    return TraceRequest(start + seconds, prompt, output, _keys(number, ids, session + 1), size)


def _lengths(lines: Lines) -> Iterator[TraceRequest]:
    """Azure's form."""
    next(lines)  # the names of the columns
    start = None
    for number, text in lines:
        try:
            when, prompt, output = text.split(",")
            seconds = datetime.fromisoformat(when[:26]).timestamp()
            lengths = {"ContextTokens": int(prompt), "GeneratedTokens": int(output)}
        except ValueError:
            raise TraceError(f"Line {number} is not TIMESTAMP,ContextTokens,GeneratedTokens: {text[:60]!r}.") from None
        start = seconds if start is None else start
        yield TraceRequest(
            max(0.0, seconds - start), _field(number, lengths, "ContextTokens"), _field(number, lengths, "GeneratedTokens"),
            NO_KEYS, LENGTHS_BLOCK, number=number,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Section:
    """A line of what holds for those behind it: a trace that was begun in a file, perhaps behind others."""

    number: int
    began: float
    block_tokens: int


def _section(number: int, head: dict[str, Any], count: int) -> _Section:
    if head.get("version") != VERSION:
        raise TraceError(f"Line {number}: this trace is of version {head.get('version')!r}; this Foreword reads {VERSION}.")
    size, began = _field(number, head, "block_tokens"), _field(number, head, "began", (int, float))
    if not size:
        raise TraceError(f"Line {number}: 'block_tokens' is 0; a block has at least 1 token.")
    return _Section(count, began, size)


def _foreword(lines: Lines) -> Iterator[TraceRequest]:
    """What TraceWriter writes: a line of what holds for all, then a line a request, in the order of their ends.

    A server that started again has begun anew, in the same file: what it says of prefixes has nothing to do with before.
    """

    def requests() -> Iterator[TraceRequest]:
        section = first = None
        for number, text in lines:
            record = _json(number, text)
            if record.get("format") == FORMAT:
                section = _section(number, record, 1 if section is None else section.number + 1)
                first = section if first is None else first
                continue
            assert section is not None and first is not None  # the first line has the format
            yield _foreword_request(number, record, section, max(0.0, section.began - first.began))

    return _in_order(requests())


def _foreword_request(number: int, record: dict[str, Any], section: _Section, begin: float) -> TraceRequest:
    prompt, output, size = _field(number, record, "prompt"), _field(number, record, "output"), section.block_tokens
    try:
        keys = np.frombuffer(b64decode(_field(number, record, "keys", str), validate=True), "<u4").astype(np.uint64)
    except ValueError:
        raise TraceError(f"Line {number}: 'keys' are no whole 32-bit numbers in base64.") from None
    if len(keys) != -(-(prompt + output) // size):
        raise TraceError(f"Line {number}: {prompt} + {output} tokens have {len(keys)} keys of {size} tokens each.")
    keys += np.uint64(section.number << 32)
    arrival, scope = begin + _field(number, record, "arrival", (int, float)), _field(number, record, "scope", str)
    return TraceRequest(
        arrival, prompt, output, keys, size, scope,
        uses_cache=record.get("cache", True) is True, keys_go_on=True, number=number, conversation=_said(number, record),
    )  # fmt: skip
