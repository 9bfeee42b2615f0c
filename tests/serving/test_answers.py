"""A model's answers are read in the form that its chat template shows, with the special tokens that belong to it."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from foreword.engine.detokenizer import TextStream
from foreword.engine.model_text import ModelText
from foreword.errors import ConfigError
from foreword.prompt.chat import ChatPrompt, Message, text_blocks
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import HubTokenizer
from foreword.prompt.written import write_conversation
from foreword.serving.answers import AnswerReading
from foreword.serving.config import ServerConfig
from foreword.serving.neutral import UsableTools
from foreword.serving.rendering import RenderedPrompt
from foreword.serving.tool_forms.base import Thought, ToolUse
from foreword.serving.tool_forms.reader import gathered
from serving.fake_front import neutral

SPECIAL = ("[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]", "</s>")
MISTRAL = "{{ tools }}{% if calls %}{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}[THINK]{% endif %}{{ messages }}"
TOOL = {"type": "function", "function": {"name": "web", "parameters": {"type": "object"}}}
PROMPT = ChatPrompt((Message("user", text_blocks("fox")),), (TOOL,))


def raised(error: Exception) -> None:
    raise AssertionError("a reader failed") from error


def model_text(template: str) -> ModelText:
    words = Tokenizer(WordLevel({"?": 0, "web": 1, "{}": 2, "fox": 3, "hm": 4}, unk_token="?"))
    words.pre_tokenizer = WhitespaceSplit()
    words.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    tokenizer = HubTokenizer(words)
    return ModelText(tokenizer, PromptTemplate(template, tokenizer))


def answered(text: str, said: str, prompt: Any = PROMPT, prompt_text: str = "", **options: Any) -> list[Any]:
    """What comes of an answer that a model of this template gives, as the engine would tell it."""
    model = model_text(text)
    reading = AnswerReading(model, ServerConfig(**options), raised)
    request = replace(neutral(), prompt=prompt, tools=UsableTools(frozenset({"web"})))
    reader = reading.reader(request, RenderedPrompt(b"", prompt_text))
    stream = TextStream(model.tokenizer, True, (), False, shown=reading.shown_tokens(request))
    for token in model.tokenizer.encode(said).ids:
        stream.add(token, may_stop=True)
    stream.finish()
    return gathered([*reader.feed(stream.text), *reader.finish()])


def read(template: str, said: str) -> list[Any]:
    """What is read of a text that a model of this template says."""
    reading = AnswerReading(model_text(template), ServerConfig(), raised)
    request = replace(neutral(), prompt=PROMPT, tools=UsableTools(frozenset({"web"})))
    reader = reading.reader(request, RenderedPrompt(b"", ""))
    return gathered([*reader.feed(said), *reader.finish()])


def test_special_tokens_of_the_form_are_seen_and_those_of_no_use_are_not() -> None:
    said = "[THINK]hm[/THINK] fox [TOOL_CALLS] web [ARGS] {} </s>"
    assert answered(MISTRAL, said) == [Thought("hm"), "fox", ToolUse("web", "{}")]
    assert answered(MISTRAL, "fox [ARGS] fox") == ["fox  fox"], "as if it had been skipped"
    assert "".join(answered(MISTRAL, said, "a text")).split() == ["hm", "fox", "web", "{}"], (
        "what goes on from a text is text"
    )


def test_a_template_without_tools_is_read_in_the_form_in_which_it_is_told_of_them() -> None:
    gemma = (Path(__file__).parents[1] / "prompt" / "templates" / "gemma.jinja").read_text("utf-8")
    template = model_text(gemma).template
    assert template is not None
    told = write_conversation(template, PROMPT, datetime(2026, 1, 1)).partition("To call one")[2]
    said = told[told.index("<tool_call>\n") : told.rindex("</tool_call>") + len("</tool_call>")]
    said = said.replace("<name>", '"web"').replace("<object>", '{"fox": 1}')
    assert read(gemma, said) == [ToolUse("web", '{"fox": 1}')]
    assert read(f"{gemma}{{{{ tools }}}}", "<start_function_call>call:web{fox:1}<end_function_call>") == [
        ToolUse("web", '{"fox": 1}')
    ]


def test_options_name_the_forms() -> None:
    said = "[THINK]hm[/THINK] fox"
    assert answered("{{ messages }}", said) == ["hm fox"]
    assert answered("{{ messages }}", said, reasoning_form="mistral") == [Thought("hm"), "fox"]
    assert "".join(answered(MISTRAL, said, reasoning_form="none")).split() == ["hm", "fox"]
    assert answered("{{ messages }}", "[TOOL_CALLS] web {}", tool_call_form="mistral") == [ToolUse("web", "{}")]
    with pytest.raises(ConfigError, match=r"tool_call_form is 'no such'; known: .*mistral"):
        ServerConfig(tool_call_form="no such")
    with pytest.raises(ConfigError, match=r"reasoning_form is 'no such'; known: .*mistral"):
        ServerConfig(reasoning_form="no such")


def test_a_prompt_that_ends_within_thoughts_has_opened_them() -> None:
    assert answered(MISTRAL, "hm [/THINK] fox", prompt_text="ask [THINK]") == [Thought("hm"), "fox"]


def test_arguments_are_read_by_the_schema_of_the_prompt() -> None:
    tool = json.loads(json.dumps(TOOL))
    tool["function"]["parameters"] = {"properties": {"fox": {"type": "string"}}}
    prompt = ChatPrompt(PROMPT.messages, (tool,))
    said = "<tool_call> <function=web> <parameter=fox> hm </parameter> </function>"
    model = model_text("{{ tools }}<function=x><parameter=y>{{ messages }}")
    reading = AnswerReading(model, ServerConfig(), raised)
    request = replace(neutral(), prompt=prompt, tools=UsableTools(frozenset({"web"})))
    reader = reading.reader(request, RenderedPrompt(b"", ""))
    assert gathered([*reader.feed(said.replace("hm", "1")), *reader.finish()]) == [ToolUse("web", '{"fox": " 1 "}')]
