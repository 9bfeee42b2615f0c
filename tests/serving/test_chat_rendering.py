"""A conversation gives the same tokens whether it comes through ``LLM.chat`` or through the server."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from foreword.engine.model_text import ModelText
from foreword.errors import PromptError
from foreword.prompt.chat import ChatPrompt, Message, ToolCall, text_blocks
from foreword.serving.rendering import PromptRenderer
from prompt.families import FAMILIES, files
from prompt.test_template import CONVERSATIONS

NAMES = [name for name in CONVERSATIONS if name != "thinking"]
"""The server's messages hold no reasoning."""


def neutral(message: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall("call_1", call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())
    )
    blocks = () if message["content"] is None else text_blocks(message["content"])
    return Message(message["role"], blocks, calls, name=message.get("name"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_library_and_the_server_render_alike(family: str, tmp_path: Path) -> None:
    given = files(family)
    config = {**json.loads(given["tokenizer_config.json"]), "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, content in {**given, "tokenizer_config.json": json.dumps(config)}.items():
        (tmp_path / name).write_text(content)
    text = ModelText.of(AutoTokenizer.from_pretrained(tmp_path))
    renderer = PromptRenderer(text, family)
    compared = 0
    for name in NAMES:
        # To the server no content is an empty one; a template may refuse it, so the library leaves it to the caller.
        filled = [{**message, "content": message["content"] or ""} for message in CONVERSATIONS[name]]
        conversation = ChatPrompt(tuple(map(neutral, CONVERSATIONS[name])))
        try:
            prompt = text.chat_prompt(filled, add_generation_prompt=True, now=datetime.now())
        except PromptError:
            with pytest.raises(PromptError):
                renderer.render(conversation)
            continue
        rendered = renderer.render(conversation)
        assert (rendered.tokens, rendered.text) == (prompt.tokens, prompt.text), name
        compared += 1
    assert compared >= 2
