"""The words of GGUF files: tokenizers of both kinds, special tokens, ends, templates, recommended sampling."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from foreword.errors import ModelError
from foreword.weights.gguf import GgufCheckpoint
from foreword.weights.gguf_file import GgufFile
from foreword.weights.gguf_tokenizer import GgufWords
from weights.gguf_files import write, write_gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
TEXTS = ("", "the quick brown fox", " the  lazy\n\tdog", "1999 äöü 東京 🙂", "the</s>fox", "x")
SEPARATOR = "\n__ggml_vocab_test__\n"
VECTORS = os.environ.get("FOREWORD_GGML_VOCABULARIES")


@pytest.mark.parametrize("text", TEXTS)
def test_byte_pairs_are_merged_as_the_model_s_own_tokenizer_does(
    model_dir: Callable[..., str], tmp_path: Path, text: str
) -> None:
    own = tokenizers.Tokenizer.from_file(f"{model_dir('llama')}/tokenizer.json")
    found = GgufWords(GgufFile(write_gguf(tmp_path / "model.gguf", model_dir("llama")))).tokenizer()
    assert found.encode(text).ids == own.encode(text).ids
    assert found.decode(found.encode(text).ids, skip_special_tokens=False) == text


def words(tmp_path: Path, **more: Any) -> GgufWords:
    """Of a small vocabulary of SentencePiece's kind; ``more`` are values of ``tokenizer.ggml.``."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = {
        "▁": -9.0, "t": -5.0, "h": -6.0, "e": -4.0, "a": -7.0, "n": -8.0, "th": -1.0, "the": -2.0, "▁the": -3.0, "he": -2.5,
        "an": -3.5, "▁a": -3.6, "▁an": -3.7,
    }  # fmt: skip
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *pieces, "<end_of_turn>", "  "]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces), CONTROL, USER_DEFINED]
    values = {
        "model": "llama",
        "tokens": tokens,
        "scores": [0.0] * 259 + list(pieces.values()) + [-1000.0] * 2,
        "token_type": kinds,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        **more,
    }
    named = {f"tokenizer.ggml.{key}" if "." not in key else key: value for key, value in values.items()}
    return GgufWords(GgufFile(write(tmp_path / "words.gguf", named, {}, "F32", "llama")))


def pieces_of(tokenizer: tokenizers.Tokenizer, text: str) -> list[str]:
    tokens: list[str] = tokenizer.encode(text, add_special_tokens=False).tokens
    return tokens


def test_pieces_are_merged_by_score_and_what_is_no_piece_is_bytes(tmp_path: Path) -> None:
    made = words(tmp_path).tokenizer()
    assert pieces_of(made, "the an") == ["▁the", "▁an"]
    assert pieces_of(made, "he") == ["▁", "he"]
    assert pieces_of(made, "ß") == ["▁", "<0xC3>", "<0x9F>"]
    assert pieces_of(made, "the  the") == ["▁the", "  ", "▁the"]
    assert pieces_of(made, "the<end_of_turn>the") == ["▁the", "<end_of_turn>", "▁the"]
    for text in ("the an", "he ß", "the <end_of_turn>"):
        assert made.decode(made.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_a_space_is_put_before_only_where_the_file_says_so(tmp_path: Path) -> None:
    made = words(tmp_path, add_space_prefix=False).tokenizer()
    assert pieces_of(made, "the an") == ["the", "▁an"]
    assert made.decode(made.encode(" the", add_special_tokens=False).ids) == " the"


@pytest.mark.parametrize(
    ("flags", "around"),
    [
        ({}, ["<s>", "▁the"]),
        ({"add_bos_token": False}, ["▁the"]),
        ({"add_eos_token": True}, ["<s>", "▁the", "</s>"]),
        ({"add_bos_token": False, "add_eos_token": True}, ["▁the", "</s>"]),
    ],
)
def test_a_prompt_begins_and_ends_as_the_file_says(tmp_path: Path, flags: dict[str, bool], around: list[str]) -> None:
    assert words(tmp_path, **flags).tokenizer().encode("the").tokens == around


def test_ends_are_those_that_the_file_names_and_those_known_by_their_text(tmp_path: Path) -> None:
    turn = 259 + 13
    assert words(tmp_path).end_token_ids() == [2, turn]
    assert words(tmp_path, eos_token_id=turn, eot_token_id=5).end_token_ids() == [turn, 5, 2]
    assert words(tmp_path, eom_token_id=2**32 - 1).end_token_ids() == [2, turn], "4294967295 stands for no token"


@pytest.mark.parametrize("key", ["bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "padding_token_id"])
@pytest.mark.parametrize("value", [10**6, 274, -2, "</s>", True, 2.0])
def test_a_special_token_that_the_vocabulary_has_not_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    found = words(tmp_path, **{key: value})
    with pytest.raises(ModelError, match=rf"words\.gguf' says tokenizer\.ggml\.{key} = .*, which is none of its 274 tokens"):
        found.ids()


@pytest.mark.parametrize("key", ["add_bos_token", "add_eos_token", "add_space_prefix"])
def test_a_flag_is_true_or_false(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelError, match=rf"says tokenizer\.ggml\.{key} = 'false', which has to be true or false"):
        words(tmp_path, **{key: "false"}).tokenizer()


def test_sampling_is_as_the_file_recommends(tmp_path: Path) -> None:
    found = words(tmp_path, **{"general.sampling.temp": 0.5, "general.sampling.top_k": 20}).generation()
    assert found == {"eos_token_id": [2, 272], "do_sample": True, "temperature": 0.5, "top_k": 20}
    assert "do_sample" not in words(tmp_path).generation()


def test_special_tokens_and_templates_have_their_names(tmp_path: Path) -> None:
    found = words(tmp_path, **{"tokenizer.chat_template": "one", "tokenizer.chat_template.tool_use": "two"})
    assert found.special() == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert found.templates() == {"default": "one", "tool_use": "two"}
    assert words(tmp_path, bos_token_id=None).special() == {"eos_token": "</s>", "unk_token": "<unk>"}


def test_transformers_has_the_same_tokenizer(model_dir: Callable[..., str], tmp_path: Path) -> None:
    checkpoint = GgufCheckpoint(write_gguf(tmp_path / "model.gguf", model_dir("llama")), "model")
    described = checkpoint.described()
    for text in TEXTS:
        assert checkpoint.tokenizer.encode(text) == described.tokenizer.encode(text).ids
    assert checkpoint.tokenizer.eos_token == described.special["eos_token"] == "</s>"
    assert checkpoint.tokenizer.chat_template == described.templates["default"]


@pytest.mark.skipif(
    VECTORS is None, reason="FOREWORD_GGML_VOCABULARIES names no folder: models/ of llama.cpp's source has them"
)
def test_expected_ids_of_llama_cpp() -> None:
    """``ggml-vocab-NAME.gguf`` with texts in ``.inp`` and ids in ``.out``."""
    seen, unknown = [], []
    for file in sorted(Path(VECTORS or "").glob("ggml-vocab-*.gguf")):
        texts, ids = file.with_name(file.name + ".inp"), file.with_name(file.name + ".out")
        if not texts.is_file():
            continue
        name = file.stem.removeprefix("ggml-vocab-")
        if name in ("bert-bge", "deepseek-llm"):
            unknown.append(name)  # of a kind that no family uses
            continue
        made = GgufWords(GgufFile(file)).tokenizer()
        for text, line in zip(texts.read_bytes().decode().split(SEPARATOR), ids.read_text().split("\n"), strict=False):
            assert made.encode(text, add_special_tokens=False).ids == [int(each) for each in line.split()], (name, text)
        seen.append(name)
    assert len(seen) >= 12
