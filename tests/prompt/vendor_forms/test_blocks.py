"""Content blocks in any vendor's form."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.prompt.chat import Block
from foreword.prompt.vendor_forms.blocks import media_name, read_block, read_blocks, write_block
from prompt.vendor_forms.conversations import values

PNG = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("block", "kind", "text"),
    [
        ({"type": "text", "text": "a"}, "text", "a"),
        ({"type": "input_text", "text": "a"}, "text", "a"),
        ({"type": "output_text", "text": "a", "annotations": []}, "text", "a"),
        ({"type": "refusal", "refusal": "no"}, "text", "no"),
        ({"type": "image_url", "image_url": {"url": PNG}}, "image", media_name("image", {"url": PNG})),
        ({"type": "input_image", "image_url": PNG}, "image", media_name("image", PNG)),
        ({"type": "image", "source": {"data": "AAAA"}}, "image", media_name("image", {"data": "AAAA"})),
        ({"type": "document", "source": {"data": "AAAA"}}, "file", media_name("file", {"data": "AAAA"})),
        ({"type": "input_file", "file_data": "AAAA"}, "file", media_name("file", "AAAA")),
        ({"type": "input_audio", "input_audio": {"data": "A"}}, "audio", media_name("audio", {"data": "A"})),
        (
            {"type": "tool_use", "input": {"q": 1}, "id": "t", "name": "f"},
            "tool_use",
            '{"id":"t","name":"f","input":{"q":1}}',
        ),
        (
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a"}, "b"]},
            "tool_result",
            "t\na\nb",
        ),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, "thinking", "hm"),
        ({"type": "redacted_thinking", "data": "xx"}, "thinking", "xx"),
        (
            {"type": "search_result", "title": "a", "cache_control": {}},
            "search_result",
            '{"type":"search_result","title":"a"}',
        ),
        ({"text": "a"}, "text", "a"),
        ("a", "text", "a"),
        (5, "text", "5"),
    ],
)
def test_every_kind_of_block(block: Any, kind: str, text: str) -> None:
    found = read_block(block)
    assert (found.kind, found.text) == (kind, text)
    if isinstance(block, dict):
        assert write_block(found) == block


def test_contents() -> None:
    assert read_blocks(None) == ()
    assert read_blocks("a") == (Block("text", "a"),)
    assert read_blocks({"a": 1}) == (Block("text", '{"a":1}'),)
    assert read_blocks([]) == ()


@given(st.dictionaries(st.sampled_from(["type", "text", "source", "content", "input", "thinking"]), values) | values)
def test_nothing_in_a_block_is_an_error(block: Any) -> None:
    assert isinstance(read_block(block).text, str)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "input_file", "file_id": "file-{}"},
        {"type": "input_file", "file_url": "https://a/{}.pdf", "file_data": None},
        {"type": "input_image", "image_url": None, "file_id": "file-{}"},
        {"type": "image_url", "source": None, "image_url": "https://a/{}.png"},
    ],
)
def test_media_that_are_named_by_another_id_are_others(block: dict[str, str | None]) -> None:
    one, again, other = (
        read_block({key: value and value.format(name) for key, value in block.items()}).text for name in "aab"
    )
    assert one == again
    assert one != other
