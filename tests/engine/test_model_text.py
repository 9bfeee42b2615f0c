"""One door from text to token ids, and its ids are those of transformers."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import transformers
from tokenizers.processors import TemplateProcessing

from foreword.engine.model_text import ModelText
from foreword.errors import ModelError, PromptError
from foreword.prompt import Prompt, parse_prompt
from foreword.testing.tiny_models import FAMILIES
from foreword.tokens import pack_tokens, unpack_tokens
from foreword.weights.safetensors import PACKAGED_MODEL

TEXTS = [
    "a",
    "the quick brown fox",
    "  two  spaces\n\n",
    "naïve 日本 🦊🦊 end",
    "<s>written out</s>",
    "x" * 5000,
    "| ID | Name |\n|----|------|\n",
]


def tokenizer_of(path: object, **options: Any) -> Any:
    return transformers.AutoTokenizer.from_pretrained(path, **options)


def assert_alike(tokenizer: Any) -> None:
    text = ModelText.of(tokenizer)
    for written in TEXTS:
        for added in (True, False):
            expected = tokenizer.encode(written, add_special_tokens=added)
            assert unpack_tokens(text.tokenizer.tokens(written, add_special_tokens=added)) == expected
        assert text.tokens(parse_prompt(written)) == pack_tokens(tokenizer.encode(written))
        ids = tokenizer.encode(written, add_special_tokens=False)
        assert text.tokenizer.encode(written).ids == ids
        assert text.tokenizer.decode(ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_transformers(model_dir: Callable[..., str], family: str) -> None:
    assert_alike(tokenizer_of(model_dir(family)))


def test_ids_of_the_packaged_model_are_those_of_transformers() -> None:
    assert_alike(tokenizer_of(PACKAGED_MODEL))


def test_special_tokens_that_a_model_adds_are_added(model_dir: Callable[..., str]) -> None:
    """The tiny models add none; this one begins every text."""
    tokenizer = tokenizer_of(model_dir("llama"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 0)])
    assert_alike(tokenizer)
    assert unpack_tokens(ModelText.of(tokenizer).tokens(Prompt("a", None)))[0] == 0


def test_nothing_is_cut_or_padded_whatever_another_user_of_the_tokenizer_asks_for(model_dir: Callable[..., str]) -> None:
    tokenizer = tokenizer_of(model_dir("llama"))
    text = ModelText.of(tokenizer)
    expected = tokenizer.encode("the quick brown fox")
    tokenizer.pad_token = "</s>"
    tokenizer(["the quick brown fox"], truncation=True, max_length=2, padding="max_length")
    assert unpack_tokens(text.tokens(Prompt("the quick brown fox", None))) == expected
    tokenizer(["fox"], max_length=50, padding="max_length")
    assert text.tokenizer.encode("the quick brown fox").ids == expected


def test_a_prompts_own_tokens_count(model_dir: Callable[..., str]) -> None:
    text = ModelText.of(tokenizer_of(model_dir("llama")))
    prompt = parse_prompt({"prompt": "fox", "prompt_token_ids": [5, 6]})
    assert text.tokens(prompt) == pack_tokens([5, 6])
    with pytest.raises(PromptError, match="half a surrogate pair at character 1"):
        text.tokens(Prompt("a\ud800", None))


def test_a_conversation_needs_a_template(model_dir: Callable[..., str]) -> None:
    tokenizer = tokenizer_of(model_dir("llama"))
    messages = [{"role": "user", "content": "the fox"}]
    prompt = ModelText.of(tokenizer).chat_prompt(messages, True, datetime(2026, 1, 1))
    assert prompt.text == "<user>the fox\n<assistant>"
    assert prompt.tokens == pack_tokens(tokenizer.encode(prompt.text, add_special_tokens=False))
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template; use generate"):
        ModelText.of(tokenizer).chat_prompt(messages, True, datetime(2026, 1, 1))
