"""Values that logs write in many ways: JSON within JSON, times, numbers."""

import base64
import binascii
import gzip
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


def opened(value: Any) -> Any:
    """JSON that is written as text, opened; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def unpacked(text: str) -> str:
    """Text that was written in base64, packed with gzip perhaps; as it is where it is neither."""
    try:
        data = base64.b64decode(text, validate=True)
        return (gzip.decompress(data) if data.startswith(GZIP) else data).decode("utf-8")
    except (binascii.Error, ValueError, OSError, EOFError, zlib.error):
        return text


GZIP = b"\x1f\x8b"


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, opened if it is written as text; an empty one for anything else."""
    value = opened(value)
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A JSON list, opened if it is written as text; an empty one for anything else."""
    value = opened(value)
    return value if isinstance(value, list) else []


def first(holder: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The value of the first key that is there and not null."""
    return next((holder[key] for key in keys if holder.get(key) is not None), None)


def finite(value: Any) -> float | None:
    """A number as a float; None for what is none, and for a number that cannot be reckoned with (NaN, beyond a float)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def seconds(value: Any) -> float | None:
    """Seconds since 1970 from a number (seconds, milli-, micro- or nanoseconds), an ISO 8601 text or an HTTP date; None
    outside the calendar."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, list) and len(value) == 2 and None not in map(finite, value):  # JavaScript's: with nanoseconds
        value = value[0] + value[1] / 1e9
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _moment(value)
    number = finite(value)
    if number is None:
        return None
    while abs(number) >= 1e11:
        number /= 1000
    try:
        datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return number


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
