"""Types of fields that hold text or any JSON: what they hold can be written out again."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator


def _is_unicode(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        at = error.start
        fault = f"half a surrogate pair (U+{ord(value[at]):04X}) at character {at}; text must be valid Unicode"
        raise ValueError(fault) from None
    return value


def _is_json(value: Any) -> Any:
    try:
        _is_unicode(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except RecursionError:
        raise ValueError("too many values within each other") from None
    except ValueError as error:
        fault = str(error) if "surrogate" in str(error) else "a number that JSON does not have: NaN, or beyond all numbers"
        raise ValueError(fault) from None
    return value


Text = Annotated[str, AfterValidator(_is_unicode)]
"""Text that is valid Unicode."""
JsonObject = Annotated[dict[str, Any], AfterValidator(_is_json)]
"""A JSON object of anybody's making: numbers that JSON has, texts that are valid Unicode."""
