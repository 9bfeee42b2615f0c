"""Chat templates written in the style of known model families, with a small tokenizer that knows their special tokens."""

import functools
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from foreword.prompt.template import PromptTemplate

TEMPLATES = Path(__file__).parent / "templates"
FAMILIES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
SPECIAL = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|end|>",
    "[INST]",
    "[/INST]",
]
TEXT = "the quick brown fox jumps over the lazy dog and says hello to a tool that can search the weather in Paris " * 3


@functools.cache
def tokenizer_json() -> str:
    """A byte-level BPE tokenizer of 400 tokens, as the content of tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return str(tokenizer.to_str())


def files(family: str) -> dict[str, str]:
    """What the directory of a model of this family holds, by file name."""
    return {
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": '{"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>"}}',
        "chat_template.jinja": (TEMPLATES / f"{family}.jinja").read_text(),
    }


@functools.cache
def template(family: str) -> PromptTemplate:
    return PromptTemplate.from_files(files(family))
