"""Thoughts come back from clients as they were given; those of other servers say nothing."""

import pytest

from foreword.prompt.chat import Block, Message
from foreword.prompt.vendor_forms.openai import read_item
from foreword.prompt.vendor_forms.reasoning import read_encrypted, read_thought, write_encrypted, write_signature


@pytest.mark.parametrize("thought", ["", "Hm.", "naïve 🦊\n", "\ud800"])
def test_what_was_written_is_read(thought: str) -> None:
    readable = thought.encode("utf-8", "replace").decode()
    assert read_encrypted(write_encrypted(thought)) == readable
    assert write_signature(thought) == write_signature(readable)
    assert write_signature(thought) != write_signature(thought + "x")


@pytest.mark.parametrize("content", [None, 5, "", "gAAAAABo", "fw1.", "fw1.\x00", "fw1.____", "fw1.é"])
def test_what_others_wrote_is_nothing(content: object) -> None:
    assert not read_encrypted(content)
    assert read_thought({"type": "reasoning", "summary": [], "encrypted_content": content}) == ""


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        ({"content": [{"type": "reasoning_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}]}, "a\nb"),
        ({"content": None, "encrypted_content": write_encrypted("a")}, "a"),
        ({"content": [], "summary": [{"type": "summary_text", "text": "s"}]}, "s"),
        ({"content": ["odd", {"type": "other", "text": "a"}], "summary": None}, ""),
    ],
)
def test_an_item_says_its_text_or_what_is_encrypted_in_it(item: dict[str, object], thought: str) -> None:
    assert read_thought(item) == thought
    blocks = (Block("thinking", thought),) if thought else ()
    assert read_item({"type": "reasoning", "id": "rs_1", **item}) == Message("assistant", blocks)
