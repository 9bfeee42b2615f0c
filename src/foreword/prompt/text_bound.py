"""How many characters a token can stand for at most: what cannot fit is known before it is tokenized."""

import json
from collections.abc import Iterator
from typing import Any

import tokenizers

COMPOSED = 4
"""Characters of which normalization (NFC) makes one, at most."""
KEEPING = {"ByteLevel", "Digits", "Metaspace", "Punctuation", "Sequence", "Split"}
"""Kinds of splitting that keep every character, unless their behavior is to remove it."""


def characters_per_token(tokenizer: tokenizers.Tokenizer) -> int | None:
    """At most so many characters of a text become one token; None where there is no such number.

    There is one where every byte has a token, nothing is dropped on the way, and no added token swallows blanks beside it.
    """
    composed = _composed(tokenizer.normalizer)
    if composed is None or not _keeps_all(tokenizer.pre_tokenizer) or not _knows_all(tokenizer):
        return None
    if any(added.lstrip or added.rstrip for added in tokenizer.get_added_tokens_decoder().values()):
        return None
    return composed * max(map(len, tokenizer.get_vocab()), default=1)


def _composed(normalizer: Any) -> int | None:
    """Characters that may become one; None where some may become none."""
    factor = 1
    for part in _parts(normalizer, "normalizers"):
        if part["type"] == "NFC":
            factor = COMPOSED
        elif part["type"] == "Replace":
            if len(part["pattern"].get("String", "several")) > max(1, len(part["content"])) or not part["content"]:
                return None
        elif part["type"] not in ("Prepend", "Sequence"):
            return None
    return factor


def _keeps_all(pre_tokenizer: Any) -> bool:
    return all(
        part["type"] in KEEPING and part.get("behavior") != "Removed" for part in _parts(pre_tokenizer, "pretokenizers")
    )


def _knows_all(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether there is a token for each byte, so that nothing becomes one unknown token."""
    model, vocabulary = tokenizer.model, tokenizer.get_vocab()
    if type(model).__name__ != "BPE":
        return False
    if model.byte_fallback:
        return all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    kinds = {part["type"] for part in _parts(tokenizer.pre_tokenizer, "pretokenizers")}
    return "ByteLevel" in kinds and all(sign in vocabulary for sign in tokenizers.pre_tokenizers.ByteLevel.alphabet())


def _parts(part: Any, name: str) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer and those that it is a sequence of, as tokenizer.json describes them."""
    described = [] if part is None else [json.loads(part.__getstate__())]
    while described:
        found = described.pop()
        described += found.get(name, ())
        yield found
