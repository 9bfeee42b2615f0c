"""How much a body asks to be read, by its JSON: counted before anybody parses it, and without the interpreter's lock."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foreword.errors import InputError, TooLargeError

MAX_VALUES = 50_000
"""Objects and lists of one body: a conversation of 10,000 messages has at most 30,000. They are checked in one go."""
MAX_FIELDS = 100_000
"""Names with a value of one body; each is looked up, and asked for its kind."""
MAX_ITEMS = 1_000_000
"""Fields and entries of one body, token ids among them."""
MAX_DEPTH = 200
"""Objects and lists within each other."""
AT_ONCE = 2**16
"""Bytes of a body that are looked at in the event loop; longer ones in another thread."""
PIECE = 2**18
"""Bytes that are looked at together; the next piece knows how the one before ended."""

_OPENS, _CLOSES = np.zeros(256, bool), np.zeros(256, bool)
_OPENS[[ord("["), ord("{")]] = _CLOSES[[ord("]"), ord("}")]] = True


@dataclass(frozen=True, slots=True)
class BodyShape:
    """``values``: objects and lists; ``fields``: names with a value; ``items``: commas between what is in them; ``depth``:
    values within each other.

    Exact for valid JSON.
    """

    values: int
    fields: int
    items: int
    depth: int


async def check_shape(body: bytes) -> None:
    """InputError for a body that is too much to read, whatever its length; a short one costs a microsecond."""
    few = body.count(b"[") + body.count(b"{") <= MAX_DEPTH and body.count(b":") <= MAX_FIELDS
    if few and body.count(b",") <= MAX_ITEMS:
        return
    shape = shape_of(body) if len(body) <= AT_ONCE else await asyncio.to_thread(shape_of, body)
    if shape.depth > MAX_DEPTH:
        raise InputError(f"The body has {shape.depth} objects and lists within each other; this server reads {MAX_DEPTH}.")
    for name, count, most in (
        ("objects and lists", shape.values, MAX_VALUES),
        ("fields", shape.fields, MAX_FIELDS),
        ("fields and entries", shape.items, MAX_ITEMS),
    ):
        if count > most:
            raise TooLargeError(f"The body has {count} {name}; this server reads {most}. Send less at a time.")


def shape_of(body: bytes) -> BodyShape:
    """The shape of a JSON text in UTF-8, in time linear in its length."""
    values = fields = items = depth = deepest = 0
    quoted = escaped = False
    for start in range(0, len(body), PIECE):
        signs = np.frombuffer(body, np.uint8, min(PIECE, len(body) - start), start)
        free, escaped = _not_escaped(signs, escaped)
        quotes = (signs == ord('"')) & free
        inside = (np.cumsum(quotes) + quoted) % 2 == 1
        quoted = bool(inside[-1])
        opens, closes = _OPENS[signs] & ~inside, _CLOSES[signs] & ~inside
        values += int(opens.sum())
        fields += int(((signs == ord(":")) & ~inside).sum())
        items += int(((signs == ord(",")) & ~inside).sum())
        depths = depth + np.cumsum(opens.astype(np.int32) - closes)
        deepest, depth = max(deepest, int(depths.max())), int(depths[-1])
    return BodyShape(values, fields, items, deepest)


def _not_escaped(signs: NDArray[np.uint8], escaped: bool) -> tuple[NDArray[np.bool_], bool]:
    """Which signs have no backslash before them that counts, and whether the sign behind them has one."""
    free = np.ones(len(signs), bool)
    if escaped:
        free[0] = False
    backslashes = signs == ord("\\")
    if not backslashes.any():
        return free, False
    if escaped:
        backslashes = backslashes.copy()
        backslashes[0] = False
    places = np.arange(len(signs))
    last_other = np.maximum.accumulate(np.where(backslashes, -1, places))
    odd = backslashes & ((places - last_other) % 2 == 1)  # the first, third, ... of a run: each escapes what follows
    free[1:] &= ~odd[:-1]
    return free, bool(odd[-1])
