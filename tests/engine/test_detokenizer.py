"""Tokens to text as they come: whole characters only, and never a part of a stop text."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import transformers

from foreword.engine.detokenizer import TextStream
from foreword.prompt.tokenizer import HubTokenizer


@pytest.fixture(scope="module")
def tokenizer(model_dir: Callable[..., str]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(model_dir("llama"))


def stream(tokenizer: Any, text: str, stop: tuple[str, ...] = (), keep: bool = False) -> tuple[list[str], str | None]:
    """What may be shown after each token of a text, and at the end; and the stop text that ended it."""
    texts = TextStream(HubTokenizer(tokenizer.backend_tokenizer), True, stop, keep)
    shown, found = [], None
    for token in tokenizer.encode(text, add_special_tokens=False):
        found = texts.add(token, may_stop=True)
        if found is not None:
            break
        shown.append(texts.text)
    texts.finish()
    return [*shown, texts.text], found


@pytest.mark.parametrize("text", ["the quick brown fox", "a", "naïve 日本 🦊🦊 end", "  two  spaces\n\n"])
def test_pieces_add_up_to_the_text(tokenizer: Any, text: str) -> None:
    shown, found = stream(tokenizer, text)
    assert found is None
    assert shown[-1] == text
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))


def test_bytes_of_an_unfinished_character_are_held_back(tokenizer: Any) -> None:
    assert len(tokenizer.encode("🦊", add_special_tokens=False)) == 4
    assert stream(tokenizer, "🦊")[0] == ["", "", "", "🦊", "🦊"]


@pytest.mark.parametrize(
    ("stop", "keep", "end"),
    [
        (("brown",), False, "the quick "),
        (("brown",), True, "the quick brown"),
        (("k b",), False, "the quic"),
        (("fox", "ick"), False, "the qu"),
        (("never",), False, None),
    ],
)
def test_stop_texts_end_the_text_and_are_never_shown(
    tokenizer: Any, stop: tuple[str, ...], keep: bool, end: str | None
) -> None:
    text = "the quick brown fox"
    shown, found = stream(tokenizer, text, stop, keep)
    assert (found is None) == (end is None)
    assert shown[-1] == (text if end is None else end)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    if end is not None:
        before = text[: text.index(found or "")]
        assert all(before.startswith(piece) for piece in shown[:-1]), "no part of the stop text was shown early"


def test_a_stop_text_across_many_tokens(tokenizer: Any) -> None:
    shown, found = stream(tokenizer, "xx END zz", ("END",))
    assert found == "END"
    assert shown[-1] == "xx "


def test_special_tokens_are_left_out_or_kept(tokenizer: Any) -> None:
    for skip, expected in ((True, "a"), (False, "<s>a")):
        texts = TextStream(HubTokenizer(tokenizer.backend_tokenizer), skip, (), False)
        for token in [tokenizer.bos_token_id, *tokenizer.encode("a", add_special_tokens=False)]:
            texts.add(token, may_stop=True)
        texts.finish()
        assert texts.text == expected
