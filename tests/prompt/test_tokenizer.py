"""Token ids and the places where tokens end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreword.errors import ModelError, PromptError
from foreword.prompt.tokenizer import ApproximateTokenizer, HubTokenizer, Tokenizer
from prompt.families import tokenizer_json

BOTH: list[Tokenizer] = [HubTokenizer.from_json(tokenizer_json()), ApproximateTokenizer()]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.sampled_from(BOTH))
def test_tokens_end_in_order_and_cover_the_text(text: str, tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode(text)
    assert len(encoded.ids) == len(encoded.ends)
    assert encoded.ends == sorted(encoded.ends)
    assert (encoded.ends or [0])[-1] == len(text)
    assert all(0 <= token < 2**31 for token in encoded.ids)


def test_special_tokens_are_recognised_and_none_are_added() -> None:
    encoded = BOTH[0].encode("<s>a</s>")
    assert len(encoded.ids) == 3
    assert encoded.ends == [3, 4, 8]


def test_the_approximation_sees_shared_beginnings_and_counts_about_four_characters_a_token() -> None:
    tokenizer = ApproximateTokenizer()
    text = "You are a helpful assistant that recognises the content of tables and answers questions about it.\n" * 5
    one, two = tokenizer.encode(text + "Who is in Boston?").ids, tokenizer.encode(text + "What is the salary?").ids
    shared = next(i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    assert abs(shared - len(tokenizer.encode(text).ids)) <= 1
    assert 3 < len(text) / shared < 6


def test_bad_input_is_named() -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        HubTokenizer.from_json("{}")
    with pytest.raises(PromptError, match="not valid Unicode"):
        BOTH[0].encode("a\ud800")
    ApproximateTokenizer().encode("a\ud800")


def test_a_length_limit_in_the_file_does_not_cut_prompts() -> None:
    import tokenizers

    limited = tokenizers.Tokenizer.from_str(tokenizer_json())
    limited.enable_truncation(4)
    limited.enable_padding(length=8)
    assert len(HubTokenizer.from_json(limited.to_str()).encode("x y z " * 10).ids) > 8
