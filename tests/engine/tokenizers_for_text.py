"""Tokenizers with odd decoders: pieces with byte fallback, as SentencePiece models have them."""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from foreword.prompt.tokenizer import HubTokenizer

PIECES = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "»", "é", *(f"▁w{n}" for n in range(58))]


def byte_fallback(strip: bool) -> Tokenizer:
    """320 pieces, 256 of them bytes. ``strip``: the decoder takes one leading space away."""
    tokenizer = Tokenizer(
        BPE({piece: at for at, piece in enumerate(PIECES)}, [], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if strip else parts)
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in PIECES[:3]])
    return tokenizer


def ids(pieces: Sequence[str]) -> list[int]:
    """Token ids of pieces."""
    return [PIECES.index(piece) for piece in pieces]


def hub(strip: bool = False) -> HubTokenizer:
    """The same as prompts know it."""
    return HubTokenizer(byte_fallback(strip))
