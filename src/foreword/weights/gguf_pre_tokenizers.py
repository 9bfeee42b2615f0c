"""How text is split before byte pairs are merged, by the names that GGUF files have for it (``tokenizer.ggml.pre``).

Patterns are those of the models' own tokenizer.json where llama.cpp has rewritten them for its engine.
"""

from dataclasses import dataclass

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+"
CAPITALS = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"

DIGIT, THREES = r"\p{N}", r"\p{N}{1,3}"
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = rf"{CONTRACTIONS}|{WORDS}|{THREES}|{SIGNS}|{BLANKS}"
QWEN_2 = rf"{CONTRACTIONS}|{WORDS}|{DIGIT}|{SIGNS}|{BLANKS}"
QWEN_35 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|{DIGIT}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{BLANKS}"
TEKKEN = rf"{CASED}|{CAPITALS}|{DIGIT}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"
GPT_4O = rf"{CASED}{CONTRACTIONS}?|{CAPITALS}{CONTRACTIONS}?|{THREES}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"
SEED_CODER = rf"{CONTRACTIONS}|{WORDS}|{DIGIT}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{BLANKS}"
FALCON = (r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, r"[0-9][0-9][0-9]")
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", DIGIT)
DEEPSEEK_3 = (
    THREES,
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    + BLANKS,
)
PLAIN = (r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]")


@dataclass(frozen=True)
class PreTokenizer:
    """How one kind of vocabulary splits a text.

    patterns
        One after another, each within the pieces of those before; what a pattern matches is a piece, and what lies between.
    whole_words
        A piece that is a token is that token, whatever merges would make of it.
    begins
        Whether a prompt begins with the token for that, where a file does not say.
    composed
        Whether characters are composed first (NFC).
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    begins: bool = False
    composed: bool = False


_DIGITS_APART, _ONE = PreTokenizer((DIGIT, GPT_2)), PreTokenizer((GPT_2,))
_LLAMA_3 = PreTokenizer((LLAMA_3,), whole_words=True, begins=True)
_QWEN_2 = PreTokenizer((QWEN_2,), composed=True)
_GPT_4O, _LIKE_LLAMA_3 = PreTokenizer((GPT_4O,)), PreTokenizer((LLAMA_3,))
PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "default": PreTokenizer(PLAIN),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0", "lfm2"), _LLAMA_3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), _LIKE_LLAMA_3),
    "glm4": PreTokenizer((LLAMA_3,), whole_words=True),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "kormo"), _QWEN_2),
    "qwen35": PreTokenizer((QWEN_35,)),
    **dict.fromkeys(("stablelm2", "hunyuan", "solar-open", "grok-2"), PreTokenizer((QWEN_2,))),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _DIGITS_APART),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "gigachat", "mellum", "trillion"), _ONE),
    "tekken": PreTokenizer((TEKKEN,), whole_words=True, begins=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), _GPT_4O),
    "falcon": PreTokenizer(FALCON),
    "deepseek-coder": PreTokenizer(DEEPSEEK_CODER),
    "deepseek-v3": PreTokenizer(DEEPSEEK_3),
    "seed-coder": PreTokenizer((SEED_CODER,)),
}
"""By name; names for one thing are as many as files have for it."""
