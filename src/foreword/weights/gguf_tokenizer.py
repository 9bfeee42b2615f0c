"""The words of a model in a GGUF file: its tokenizer, its chat template, its end tokens, and how to draw from it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as tokenizer_models

from foreword.errors import ModelError
from foreword.weights.gguf_file import MEND, GgufFile, shown
from foreword.weights.gguf_pre_tokenizers import PRE_TOKENIZERS, PreTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
"""Types of tokens by their numbers in a file."""
BLANK = "▁"
"""Stands for a space in vocabularies of SentencePiece's kind."""
SPECIAL = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id",
           "pad_token": "padding_token_id"}  # fmt: skip
"""What templates call special tokens, and files their ids."""
NO_TOKEN = (-1, 2**32 - 1)
"""Ids that stand for no token."""
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
END_TEXTS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>", "<|end_of_text|>",
    "<end_of_utterance>", "</s>", "<|return|>",
})  # fmt: skip
"""Control tokens that end an answer, whether or not a file says so: many say one of several."""
SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
"""What files call recommended ways of drawing (``general.sampling.``), and transformers."""
TEMPLATE = "tokenizer.chat_template"


class GgufWords:
    """What a file says of words. ModelError, which names the file, where they cannot be read."""

    def __init__(self, file: GgufFile):
        self._file, self._metadata = file, file.metadata
        self._kind = self._metadata.get("tokenizer.ggml.model")
        self._tokens: list[str] = self._list("tokens", str)
        if not self._kind or not self._tokens or self._kind in ("none", "no_vocab"):
            raise ModelError(f"GGUF file {str(file.path)!r} has no tokenizer. Take a file of this model that has one.")
        self._tokens = [token or f"[EMPTY_{place}]" for place, token in enumerate(self._tokens)]
        self._types: list[int] = self._list("token_type", int) or [NORMAL] * len(self._tokens)
        if len(self._types) != len(self._tokens):
            raise ModelError(
                f"GGUF file {str(file.path)!r} has {len(self._tokens)} tokens, but says of {len(self._types)} what they are "
                f"(tokenizer.ggml.token_type). {MEND}"
            )

    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer, as the library has it."""
        ids = {token: place for place, token in enumerate(self._tokens)}
        if len(ids) != len(self._tokens):
            twice = next(token for place, token in enumerate(self._tokens) if ids[token] != place)
            raise ModelError(
                f"GGUF file {str(self._file.path)!r} has the token {shown(twice)} twice. Convert the model again."
            )
        if self._kind == "gpt2":
            made = self._byte_level(ids)
        elif self._kind == "llama":
            made = self._sentence_pieces(ids, self._merges_by_score(ids))
        elif self._kind == "gemma4":
            made = self._sentence_pieces(ids, self._merges())
        else:
            raise ModelError(
                f"GGUF file {str(self._file.path)!r} has a tokenizer of kind {shown(self._kind)}, which cannot be read; "
                f"known: gpt2 (byte pairs), llama (SentencePiece), gemma4. Take its safetensors instead."
            )
        self._add_special(made)
        return made

    def special(self) -> dict[str, str]:
        """Special tokens by the names that templates know them by."""
        places = {name: self._id(key) for name, key in SPECIAL.items()}
        return {name: self._tokens[place] for name, place in places.items() if place is not None}

    def templates(self) -> dict[str, str]:
        """Chat templates by name."""
        begin = TEMPLATE + "."
        named = {key.removeprefix(begin): value for key, value in self._metadata.items() if key.startswith(begin)}
        default = self._metadata.get(TEMPLATE, "")
        found = {} if default == "" else {"default": default}
        for name, value in (found | named).items():
            if not isinstance(value, str):
                raise ModelError(
                    f"GGUF file {str(self._file.path)!r} says that its chat template {shown(name)} is {shown(value)}, which "
                    f"has to be text. {MEND}"
                )
        return found | named

    def ids(self) -> dict[str, Any]:
        """Ids of special tokens, as a configuration of transformers has them."""
        begin, pad = self._id("bos_token_id"), self._id("padding_token_id")
        return {"bos_token_id": begin, "pad_token_id": pad, "eos_token_id": self.end_token_ids()}

    def end_token_ids(self) -> list[int]:
        """Tokens that end an answer: those that the file names, and those that are known to by their text."""
        named = [place for key in ENDS if (place := self._id(key)) is not None]
        known = [place for place, token in enumerate(self._tokens) if token in END_TEXTS and self._types[place] == CONTROL]
        return list(dict.fromkeys([*named, *known]))

    def generation(self) -> dict[str, Any]:
        """What transformers' generation_config.json would say: end tokens, and how it is recommended to draw."""
        given = {name: self._metadata.get(f"general.sampling.{key}") for key, name in SAMPLING.items()}
        sampling = {name: value for name, value in given.items() if value is not None}
        drawn = {"do_sample": True} if sampling.get("temperature") else {}
        return {"eos_token_id": self.end_token_ids(), **drawn, **sampling}

    def _list(self, key: str, kind: type) -> list[Any]:
        """A list of values of one kind; empty where there is none. ModelError for a list of another kind, or no list."""
        found = self._metadata.get(f"tokenizer.ggml.{key}") or []
        if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
            raise ModelError(
                f"GGUF file {str(self._file.path)!r} says tokenizer.ggml.{key} = {shown(found)}, which has to be a list "
                f"of {kind.__name__}. {MEND}"
            )
        return found

    def _id(self, key: str) -> int | None:
        """A token's id by its key; None where the file names none. ModelError for one that is not in the vocabulary."""
        place = self._metadata.get(f"tokenizer.ggml.{key}")
        if place is None or place in NO_TOKEN:
            return None
        if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(self._tokens):
            raise ModelError(
                f"GGUF file {str(self._file.path)!r} says tokenizer.ggml.{key} = {shown(place)}, which is none of its "
                f"{len(self._tokens)} tokens. {MEND}"
            )
        return place

    def _pre_tokenizer(self) -> PreTokenizer:
        name = self._metadata.get("tokenizer.ggml.pre")
        if not isinstance(name, str) or name not in PRE_TOKENIZERS:
            said = f"the pre-tokenizer {shown(name)}, which is not known here" if name else "no name of its pre-tokenizer"
            raise ModelError(
                f"GGUF file {str(self._file.path)!r} has {said} (tokenizer.ggml.pre): its text would be split wrongly. "
                f"Known: {', '.join(PRE_TOKENIZERS)}. Take a newer file of this model, or its safetensors."
            )
        return PRE_TOKENIZERS[name]

    def _merges(self) -> list[tuple[str, str]]:
        merges = self._list("merges", str)
        if not merges:
            raise ModelError(f"GGUF file {str(self._file.path)!r} has a tokenizer without merges. Convert the model again.")
        split = (merge.find(" ", 1) for merge in merges)
        return [(merge[:at], merge[at + 1 :]) for merge, at in zip(merges, split, strict=True)]

    def _byte_level(self, ids: Mapping[str, int]) -> tokenizers.Tokenizer:
        pre = self._pre_tokenizer()
        model = tokenizer_models.BPE(dict(ids), self._known(self._merges(), ids), ignore_merges=pre.whole_words)
        made = tokenizers.Tokenizer(model)
        splits = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in pre.patterns]
        if pre.composed:
            made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        made.decoder = decoders.ByteLevel()
        return made

    def _sentence_pieces(self, ids: Mapping[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
        unknown = self._id("unknown_token_id")
        made = tokenizers.Tokenizer(
            tokenizer_models.BPE(
                dict(ids),
                self._known(merges, ids),
                unk_token=None if unknown is None else self._tokens[unknown],
                fuse_unk=True,
                byte_fallback=True,
            )
        )
        begins = self._flag("add_space_prefix", self._kind == "llama")
        replace = normalizers.Replace(" ", BLANK)
        made.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), replace]) if begins else replace
        parts = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
        made.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if begins else parts)
        return made

    def _merges_by_score(self, ids: Mapping[str, int]) -> list[tuple[str, str]]:
        """The merges that a SentencePiece vocabulary stands for: of each token all pairs of tokens that it is made of, those
        of the highest score first."""
        scores = self._list("scores", float)
        if len(scores) != len(self._tokens) or not all(map(math.isfinite, scores)):
            raise ModelError(f"GGUF file {str(self._file.path)!r} has a tokenizer without scores. Convert the model again.")
        order = sorted(range(len(self._tokens)), key=lambda place: -scores[place])
        return [pair for place in order for pair in _pairs(self._tokens[place], ids)]

    def _known(self, merges: list[tuple[str, str]], ids: Mapping[str, int]) -> list[tuple[str, str]]:
        """Merges of tokens into tokens; the library takes no others."""
        return [pair for pair in merges if pair[0] in ids and pair[1] in ids and pair[0] + pair[1] in ids]

    def _add_special(self, made: tokenizers.Tokenizer) -> None:
        """Tokens that are found in a text before it is split, and those that are put around a prompt."""
        strips = "phi-3" in str(self._metadata.get("general.name", "")).lower().replace("phi3", "phi-3")
        apart = {"<unk>", "<s>", "<|endoftext|>"}
        found: list[tokenizers.AddedToken] = []
        for token, kind in zip(self._tokens, self._types, strict=True):
            if kind in (CONTROL, USER_DEFINED, UNKNOWN):
                rstrip = strips and token not in apart and (kind != USER_DEFINED or token == "</s>")
                found.append(tokenizers.AddedToken(token, special=kind != USER_DEFINED, normalized=False, rstrip=rstrip))
        made.add_tokens([token for token in found if not token.special])
        made.add_special_tokens([token for token in found if token.special])
        begin, end = self._id("bos_token_id"), self._id("eos_token_id")
        around = [place if self._puts(key) else None for key, place in (("add_bos_token", begin), ("add_eos_token", end))]
        texts = [None if place is None else self._tokens[place] for place in around]
        if any(text is not None for text in texts):
            made.post_processor = processors.TemplateProcessing(
                single=[text for text in (texts[0], "$A", texts[1]) if text is not None],
                special_tokens=[(text, place) for text, place in zip(texts, around, strict=True) if text is not None],
            )

    def _puts(self, key: str) -> bool:
        """Whether a token is put before or behind a prompt."""
        begins = self._kind != "gpt2" or self._pre_tokenizer().begins
        return self._flag(key, key == "add_bos_token" and begins)

    def _flag(self, key: str, usual: bool) -> bool:
        """What a key says; ``usual`` where there is none. ModelError for what is neither true nor false."""
        found = self._metadata.get(f"tokenizer.ggml.{key}", usual)
        if found not in (0, 1):
            raise ModelError(
                f"GGUF file {str(self._file.path)!r} says tokenizer.ggml.{key} = {shown(found)}, which has to be true or "
                f"false. {MEND}"
            )
        return bool(found)


def _pairs(token: str, ids: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The pairs of tokens that a token is made of, in the order of their ids."""
    pairs = [(token[:at], token[at:]) for at in range(1, len(token)) if token[:at] in ids and token[at:] in ids]
    return iter(sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]])))
