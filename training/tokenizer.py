"""The tokenizer: byte-level BPE whose pre-tokenizer makes tables short and cells easy to copy.

- The mark between two cells is one token, and so is the mark between two rows: a row with n cells has n marks.
- A space belongs to a mark or to a function word ("is ", "the "), never to a word of a cell, so that a value is the
  same tokens in its cell and in an answer.
- Digits go in groups of at most three, and every such group is one token.
"""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from generator import END, Generator, Limits
from words import TRAIN

ROW_MARK = " |\n| "
FIRST_ROW_MARK = "|\n| "
CELL_MARK = " | "
TABLE_MARK = "| "
LAST_MARK = " |\n"

_FUNCTION_WORDS = (
    "What|What's|Which|Who|Where|When|How|In|Tell|Give|The|Here|You|is|are|was|the|a|of|in|as|from|with|for|to|that|does|"
    "do|has|have|me|much|many|work|works|live|lives|located|earns|earn|costs|cost|old|old|people|belongs|speaks|speak"
)
_PATTERN = "|".join(
    (
        r" \|\n\| ", r"\|\n\| ", r" \|\n", r" \| ", r"\|-+", r"\| ",
        r"Question: ", r" Your answer: ", r" Your answer:",
        rf"(?:{_FUNCTION_WORDS}) (?!\|)", r"'s (?!\|)", r": (?!\|)", r", (?!\|)",
        r"[\p{L}\p{M}]+", r"\p{N}{1,3}", r" ", r"\n", r"[^\s\p{L}\p{M}\p{N}]", r"\s",
    )
)  # fmt: skip

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{ message['content'] }}{{ '' if message['content'].endswith('\\n') else '\\n' }}
{%- elif message['role'] == 'user' -%}
{{ 'Question: ' + message['content'] + ' Your answer: ' }}
{%- elif message['role'] == 'assistant' -%}
{{ message['content'] + eos_token + '\\n' }}
{%- endif -%}
{%- endfor -%}
"""


def _sample(tables: int, seed: int) -> list[str]:
    """Texts to learn the merges from: number groups and marks often enough to become tokens, then tables."""
    texts = [f"{n:02}" for n in range(100)] * 3000
    texts += [text for n in range(1000) for text in {str(n), f"{n:03}"}] * 300
    marks = (ROW_MARK, FIRST_ROW_MARK, CELL_MARK, LAST_MARK, TABLE_MARK)
    texts += [mark for mark in (*marks, "Question: ", " Your answer: ", " Your answer:") for _ in range(2000)]
    texts += [f"|{'-' * n}" for n in range(4, 15) for _ in range(500)]
    generator, limits = Generator(TRAIN, seed), Limits()
    for _ in range(tables):
        rng = generator.rng
        rows = rng.randint(limits.min_rows, limits.max_rows)
        table = generator.table(rows, rng.randint(limits.min_columns, limits.max_columns))
        texts.append(table.text)
        for _ in range(10):
            question = generator.any_question(table, limits.reverse)
            texts.append(question.prompt + question.start)
    return texts


def train_tokenizer(vocabulary: int = 3072, tables: int = 3000, seed: int = 0) -> Tokenizer:
    """A tokenizer trained on tables of the training part."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(tables, seed), trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer files of a Hugging Face model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
