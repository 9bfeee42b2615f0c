"""The shape of a body, whatever stands in its strings, and what is too much of it."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreword.errors import InputError
from foreword.server.body_shape import MAX_DEPTH, MAX_FIELDS, MAX_ITEMS, MAX_VALUES, PIECE, BodyShape, check_shape, shape_of

TEXTS = st.text(alphabet='\\"[{]},:aé\n', max_size=6)
JSON = st.recursive(TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner))


def counted(value: object) -> BodyShape:
    """The shape of a value by walking through it."""
    if not isinstance(value, list | dict):
        return BodyShape(0, 0, 0, 0)
    inner = [counted(one) for one in (value.values() if isinstance(value, dict) else value)]
    return BodyShape(
        1 + sum(one.values for one in inner),
        (len(value) if isinstance(value, dict) else 0) + sum(one.fields for one in inner),
        max(0, len(value) - 1) + sum(one.items for one in inner),
        1 + max((one.depth for one in inner), default=0),
    )


@given(JSON, st.booleans(), st.sampled_from(["", " " * (PIECE - 3)]))
@settings(max_examples=300)
def test_the_shape_of_valid_json_is_exact(value: object, ascii_only: bool, before: str) -> None:
    assert shape_of((before + json.dumps(value, ensure_ascii=ascii_only)).encode()) == counted(value)


@pytest.mark.parametrize("run", [1, 2, 3])
def test_backslashes_across_pieces(run: int) -> None:
    text = json.dumps(["a" * (PIECE - 4) + "\\" * run + '"[[', [1, 2]])
    assert shape_of(text.encode()) == BodyShape(2, 0, 2, 2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "201 objects and lists within each other"),
        (b"[" + b",".join([b"{}"] * MAX_VALUES) + b"]", "50001 objects and lists"),
        (b"{" + b",".join([b'"a":1'] * (MAX_FIELDS + 1)) + b"}", "100001 fields;"),
        (b"[" + b",".join([b"1"] * (MAX_ITEMS + 2)) + b"]", "1000001 fields and entries"),
    ],
)
def test_too_much_to_read_is_named(body: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        asyncio.run(check_shape(body))


@pytest.mark.parametrize(
    "body", [b'{"a": "' + b"[{,:" * 1_500_000 + b'"}', b"", b"\xff\\", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, b'{"a": 1}']
)
def test_what_stands_in_strings_is_no_matter(body: bytes) -> None:
    asyncio.run(check_shape(body))
