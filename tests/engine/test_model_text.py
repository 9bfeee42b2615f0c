"""One door from text to token ids, and its ids are those of transformers."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers.processors import TemplateProcessing

from foreword.engine import LLM, SamplingParams
from foreword.engine.async_llm import AsyncLLM
from foreword.engine.model_text import ModelText
from foreword.errors import ModelError, PromptError
from foreword.prompt import Prompt, parse_prompt
from foreword.testing.tiny_models import FAMILIES, write_model
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


TOOL = {"type": "function", "function": {"name": "look", "description": "Sees.", "parameters": {"properties": {}}}}
WITH_TOOLS = (
    "{% for tool in tools or [] %}[{{ tool.function.name }} {{ tool.function.description }} "
    "{{ tool.function.parameters.properties | tojson }}]{% endfor %}{{ mood or 'calm' }}:"
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)


def test_tools_and_the_templates_own_variables_are_in_the_prompt_or_refused(model_dir: Callable[..., str]) -> None:
    tokenizer, now = tokenizer_of(model_dir("llama")), datetime(2026, 1, 1)
    messages = [{"role": "user", "content": "the fox"}]
    told = ModelText.of(tokenizer).chat_prompt(messages, True, now, [TOOL]).text
    assert told is not None
    assert told.startswith("<system># Tools")  # the template knows none
    assert '"name": "look"' in told
    tokenizer.chat_template = WITH_TOOLS
    text = ModelText.of(tokenizer)
    assert text.chat_prompt(messages, True, now, [TOOL], {"mood": "gay"}).text == "[look Sees. {}]gay:the fox>"
    assert text.chat_prompt(messages, False, now, [], {}).text == "calm:the fox"
    for own in ("messages", "tools", "add_generation_prompt", "now", "self"):
        with pytest.raises(PromptError, match=f"chat_template_kwargs holds '{own}'"):
            text.chat_prompt(messages, True, now, variables={own: 1})


def test_chat_hands_on_tools_and_variables(tmp_path: Path) -> None:
    model = write_model(tmp_path, "llama", num_hidden_layers=1)
    (model / "chat_template.jinja").write_text(WITH_TOOLS)
    messages = [{"role": "user", "content": "the fox"}]
    given: dict[str, Any] = {"tools": [TOOL], "chat_template_kwargs": {"mood": "glad"}}
    llm = LLM(str(model), kv_cache_memory_bytes=2**20, self_test=False)
    one = SamplingParams(max_tokens=1)
    assert llm.chat(messages, one, **given)[0].prompt == "[look Sees. {}]glad:the fox>"
    several = llm.chat([messages, messages], one, add_generation_prompt=False, use_tqdm=False, **given)
    assert [output.prompt for output in several] == ["[look Sees. {}]glad:the fox"] * 2

    async def chat() -> str | None:
        async with AsyncLLM(str(model), kv_cache_memory_bytes=2**20, self_test=False) as other:
            return (await other.chat(messages, one, **given)).prompt

    assert asyncio.run(chat()) == "[look Sees. {}]glad:the fox>"
