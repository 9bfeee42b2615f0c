"""Token ids and the places where tokens end."""

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Tokenizers

from foreword.errors import ModelError, PromptError
from foreword.prompt.text_bound import characters_per_token
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


def test_what_the_file_says_of_batches_is_not_said_of_prompts() -> None:
    library = Tokenizers.from_str(tokenizer_json())
    text = "the quick brown fox jumps over the lazy dog"
    right = HubTokenizer(Tokenizers.from_str(tokenizer_json())).encode(text)
    library.enable_truncation(4)
    assert HubTokenizer(Tokenizers.from_str(library.to_str())).encode(text) == right
    library.no_truncation()
    library.enable_padding(length=64)
    for times in (1, 100):
        tokenizer = HubTokenizer(Tokenizers.from_str(library.to_str()))
        assert len(tokenizer.encode(text * times).ids) == len(
            HubTokenizer.from_json(tokenizer_json()).encode(text * times).ids
        )


def test_a_text_that_cannot_fit_is_refused_by_its_characters() -> None:
    library = Tokenizers.from_str(tokenizer_json())
    each = max(map(len, library.get_vocab()))
    tokenizer = HubTokenizer(library, most_tokens=3000)
    assert characters_per_token(library) == each
    assert len(tokenizer.encode(" weather" * 2999).ids) == 2999
    begun = time.process_time()
    with pytest.raises(PromptError, match=r"8000000 characters, at least \d+ tokens, .* may have 3000 tokens"):
        tokenizer.encode("a" * 8_000_000)
    assert time.process_time() - begun < 1, "it was not tokenized"
    with pytest.raises(PromptError, match="may have 3000 tokens"):
        tokenizer.encode("a1" * 12_000)


def changed(part: str, value: Any) -> Tokenizers:
    library = Tokenizers.from_str(tokenizer_json())
    if part == "normalizer":
        library.normalizer = value
    elif part == "model":
        library.model = value
    else:
        library.pre_tokenizer = value
    return library


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", normalizers.Strip()),
        ("normalizer", normalizers.Replace("  ", "")),
        ("pre_tokenizer", pre_tokenizers.Whitespace()),
        ("pre_tokenizer", pre_tokenizers.Split("a", "removed")),
        ("model", models.WordLevel({"?": 0}, unk_token="?")),
        ("model", models.BPE({"?": 0, "a": 1}, [], unk_token="?", fuse_unk=True)),
    ],
)
def test_no_bound_where_characters_may_vanish(part: str, value: Any) -> None:
    assert characters_per_token(changed(part, value)) is None


def test_no_bound_where_a_token_swallows_blanks() -> None:
    library = Tokenizers.from_str(tokenizer_json())
    library.add_special_tokens([AddedToken("<|greedy|>", rstrip=True)])
    assert characters_per_token(library) is None


def test_composed_characters_count_as_those_they_are_made_of() -> None:
    each = characters_per_token(Tokenizers.from_str(tokenizer_json()))
    assert each is not None
    assert characters_per_token(changed("normalizer", normalizers.NFC())) == 4 * each


def test_another_thread_goes_on_while_a_long_text_is_tokenized() -> None:
    tokenizer, gaps, over = HubTokenizer.from_json(tokenizer_json()), [0.0], threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not over.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            gaps[0], last = max(gaps[0], now - last), now

    watching = threading.Thread(target=watch)
    watching.start()
    begun = time.perf_counter()
    tokenizer.tokens("a" * 600_000, add_special_tokens=False)
    taken = time.perf_counter() - begun
    over.set()
    watching.join()
    assert gaps[0] < max(0.25, taken / 3)
