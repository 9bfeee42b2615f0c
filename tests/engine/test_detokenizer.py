"""Tokens to text as they come: whole characters only, never a part of a stop text, and whatever the bytes are, no error."""

import itertools
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE, WordLevel, WordPiece

from engine.tokenizers_for_text import byte_fallback, hub, ids
from foreword.engine.detokenizer import TextStream
from foreword.prompt.tokenizer import HubTokenizer
from prompt.families import tokenizer_json


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


def text_of(
    tokenizer: HubTokenizer, tokens: Sequence[int], before: Sequence[int] = (), skip: bool = True
) -> tuple[str, list[str]]:
    """The text of a stream of tokens, whole, and what was shown after each."""
    texts, shown = TextStream(tokenizer, skip, (), False, before), []
    for token in tokens:
        texts.add(token, may_stop=True)
        shown.append(texts.text)
    texts.finish()
    return texts.text, shown


@pytest.mark.parametrize(
    ("pieces", "right"),
    [
        (["<0x41>", "<0x80>", "▁w1"], "A\ufffd w1"),
        (["<0xC2>", "<0xA0>", "<0xC2>", "»"], "\xa0\ufffd»"),
        (["<0x0A>", "<0x80>", "▁w1"], "\n\ufffd w1"),
        (["<0xC3>", "<0xA9>", "<0xFF>", "▁w1"], "é\ufffd w1"),
        (["<0xF0>", "<0x9F>", "<0xA6>", "<0x8A>", "<0xF0>", "▁w2"], "🦊\ufffd w2"),
        (["<0xE2>", "<0x82>", "<0xAC>", "<0xE2>", "▁w3"], "€\ufffd w3"),
        (["<0x41>", "<0xC3>", "<0xA9>", "▁w1"], "Aé w1"),
        (["▁w1", "<0xF0>"], " w1\ufffd"),
        (["▁w1", "<0xEF>", "<0xBF>", "<0xBD>"], " w1\ufffd"),
        (["<0xF0>", "<0x9F>"], "\ufffd"),
        (["é", "<0xE2>", "<0x82>"], "é\ufffd"),
        (["<0xC3>", "</s>", "<0xA9>"], "é"),
        (["<0xED>", "<0xA0>", "<0x80>", "é"], "\ufffd\ufffd\ufffdé"),
        (["<0xF4>", "<0x90>", "<0x80>", "<0x80>"], "\ufffd" * 4),
    ],
)
def test_odd_bytes_become_replacement_signs_and_touch_nothing_else(pieces: list[str], right: str) -> None:
    assert text_of(hub(), ids(pieces))[0] == right


@pytest.mark.parametrize(
    ("before", "pieces", "right"),
    [
        ([], ["▁w1", "▁w2"], "w1 w2"),
        (["▁w1"], ["▁w2"], " w2"),
        (["<s>"], ["▁w2"], "w2"),
        (["▁w1", "<s>"], ["▁w2"], " w2"),
        (["▁w1", *["</s>"] * 50], ["▁w2"], " w2"),
        (["▁"], ["▁w2"], " w2"),
        (["<0x0A>"], ["▁w2"], " w2"),
        (["<0xF0>", "<0x9F>"], ["<0xA6>", "<0x8A>", "▁w2"], "🦊 w2"),
        (["<0xF0>", "<0x9F>"], ["<0xA6>", "▁w2"], "\ufffd w2"),
        (["<0xF0>", "<0x9F>"], ["▁w2"], " w2"),
        (["<0xF0>", "<0x9F>"], ["<0x41>"], "A"),
        (["<0xF0>", "<0x9F>"], [], ""),
        (["<0xEF>", "<0xBF>"], ["<0xBD>"], "\ufffd"),
        (["<0x80>"], ["<0x80>", "▁w2"], "\ufffd w2"),
    ],
)
def test_a_text_goes_on_where_the_prompt_ends(before: list[str], pieces: list[str], right: str) -> None:
    assert text_of(hub(strip=True), ids(pieces), ids(before))[0] == right


def test_a_run_of_odd_bytes_is_shown_as_it_comes_in_linear_time() -> None:
    tokenizer, count = hub(), 20_000

    def seconds(piece: str, sign: str) -> float:
        begun = time.thread_time()  # what else the machine does is no matter
        texts = TextStream(tokenizer, True, (), False)
        for token in ids([piece]) * count:
            texts.add(token, may_stop=True)
        taken = time.thread_time() - begun
        assert len(texts.pieces) == count
        texts.finish()
        assert texts.text == sign * count
        return taken

    ordinary = seconds("<0x41>", "A")
    assert seconds("<0x80>", "\ufffd") < 5 * ordinary + 0.2


def tiny_tokenizers() -> dict[str, Tokenizer]:
    """Decoders of every kind that models have."""
    words = {"a": 0, "##b": 1, "c": 2, ".": 3, "</s>": 4}
    piece, plain, suffix = Tokenizer(WordPiece(words)), Tokenizer(WordLevel({"a": 0, "b": 1})), Tokenizer(BPE(words, []))
    piece.decoder = decoders.WordPiece()
    suffix.decoder = decoders.Metaspace()
    level = Tokenizer(BPE({sign: at for at, sign in enumerate("abĠÃ©ðŁ¦Ĭ")}, []))
    level.decoder = decoders.ByteLevel()
    level.add_tokens(["é日", AddedToken(" \u00e9", normalized=False)])
    level.add_special_tokens(["<|end|>"])
    fused = Tokenizer.from_str(level.to_str())
    fused.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    more = Tokenizer.from_str(level.to_str())
    more.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    fallback = {"fallback": byte_fallback(False), "fallback, strip": byte_fallback(True)}
    return {"WordPiece": piece, "none": plain, "Metaspace": suffix, "level": level, "fused": fused, "more": more, **fallback}


TOKENIZERS = tiny_tokenizers()
LLAMA = HubTokenizer(Tokenizer.from_str(tokenizer_json()))


@given(st.sampled_from(sorted(TOKENIZERS)), st.data(), st.booleans())
@settings(max_examples=600)
def test_a_stream_is_the_text_of_all_its_tokens_wherever_their_bytes_are_valid(
    name: str, data: st.DataObject, skip: bool
) -> None:
    tokenizer = TOKENIZERS[name]
    tokens = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() + 2), max_size=12))
    cut = data.draw(st.integers(0, len(tokens)))
    before, after = tokens[:cut], tokens[cut:]
    text, shown = text_of(HubTokenizer(tokenizer), after, before, skip)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise([*shown, text]))
    whole, prompt = (tokenizer.decode(part, skip_special_tokens=skip) for part in (tokens, before))
    if "\ufffd" not in whole and "\ufffd" not in prompt:
        assert prompt + text == whole
    elif name in ("level", "fused") and not cut:
        assert text == whole


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_the_first_token_of_a_text_is_what_the_library_makes_of_it(name: str) -> None:
    """Some decoders leave out a blank there, be it a byte by itself."""
    tokenizer = TOKENIZERS[name]
    for token in range(tokenizer.get_vocab_size()):
        alone = tokenizer.decode([token], skip_special_tokens=False)
        assert "\ufffd" in alone or text_of(HubTokenizer(tokenizer), [token], [], False)[0] == alone


@given(st.lists(st.integers(0, 319), max_size=40))
@settings(max_examples=300)
def test_a_byte_level_vocabulary_is_the_library_s_to_the_byte(tokens: list[int]) -> None:
    assert text_of(LLAMA, tokens, skip=False)[0] == LLAMA.decode(tokens)
    assert b"".join(map(LLAMA.token_bytes, tokens)).decode("utf-8", "replace") == LLAMA.decode(tokens)


class Faulty:
    """A decoder that raises at one token, and everything at another one."""

    class Panic(BaseException):
        pass

    def token_text(self, token: int) -> str:
        return str(token)

    def token_bytes(self, token: int) -> bytes:
        return str(token).encode()

    def decoder(self, skip_special_tokens: bool, before: Sequence[int], shown: Collection[int]) -> "Faulty":
        del skip_special_tokens, before, shown
        return self

    def add(self, token: int) -> str:
        if token > 7:
            raise {8: Faulty.Panic, 9: StopIteration, 10: KeyboardInterrupt}[token]
        return str(token)

    def finish(self) -> str:
        raise Faulty.Panic


def test_a_decoder_may_raise_anything_and_only_its_token_is_lost() -> None:
    texts = TextStream(Faulty(), True, (), False)
    for token in (1, 8, 2, 9, 3):
        texts.add(token, may_stop=True)
    texts.finish()
    assert texts.text == "1\ufffd2\ufffd3\ufffd"


def test_an_interrupt_is_no_fault_of_a_decoder() -> None:
    with pytest.raises(KeyboardInterrupt):
        TextStream(Faulty(), True, (), False).add(10, may_stop=True)


def test_nothing_of_a_character_behind_a_stop_text_is_shown() -> None:
    texts = TextStream(hub(), True, ("w1",), False)
    assert texts.add(ids(["▁w1"])[0], may_stop=True) == "w1"
    texts.finish()
    assert texts.text == " "


def test_a_token_has_its_text_and_its_bytes() -> None:
    tokenizer = hub(strip=True)
    assert [tokenizer.token_text(token) for token in ids(["▁w1", "▁", "<0x41>", "<0x80>", "é", "</s>"])] == [
        " w1", " ", "A", "\ufffd", "é", "</s>",
    ]  # fmt: skip
    assert [tokenizer.token_bytes(token) for token in ids(["▁w1", "<0x80>", "é"])] == [b" w1", b"\x80", "é".encode()]
    assert tokenizer.token_text(5000) == ""


def test_special_tokens_that_a_reader_must_see_are_not_skipped(tokenizer: Any) -> None:
    special, plain = tokenizer.bos_token_id, tokenizer.encode("the fox", add_special_tokens=False)
    for shown, text in (((), "the fox"), ((special,), f"{tokenizer.bos_token}the fox{tokenizer.bos_token}")):
        texts = TextStream(HubTokenizer(tokenizer.backend_tokenizer), True, (), False, shown=shown)
        for token in (special, *plain, special, tokenizer.eos_token_id):
            texts.add(token, may_stop=True)
        texts.finish()
        assert texts.text == text


@pytest.mark.parametrize("text", ["the quick brown fox", "naïve 日本 🦊🦊 end"])
def test_every_token_says_how_much_text_there_is_with_it(tokenizer: Any, text: str) -> None:
    texts = TextStream(HubTokenizer(tokenizer.backend_tokenizer), True, ("never",), False)
    for count, token in enumerate(tokenizer.encode(text, add_special_tokens=False), start=1):
        texts.add(token, may_stop=True)
        assert len(texts.ends) == count
    texts.finish()
    assert list(texts.ends) == sorted(texts.ends)
    assert texts.ends[-1] == len(text) == len(texts.text)
