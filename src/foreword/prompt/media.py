"""Images, documents and sound in a conversation: no model here reads them, so they are refused or told of in words."""

from dataclasses import replace
from enum import StrEnum

from foreword.errors import PromptError
from foreword.prompt.chat import Block, ChatPrompt

KINDS = ("image", "file", "audio")
"""Kinds of blocks that no chat template here can write."""
REMOVE = "It would be sent again with every further request: go back to before it came into the conversation, or begin anew."


class Media(StrEnum):
    """``refuse``: a request with one is an error. ``describe``: a text that says so stands in its place."""

    REFUSE = "refuse"
    DESCRIBE = "describe"


def readable(prompt: ChatPrompt, way: Media) -> ChatPrompt:
    """The conversation as texts alone; ``left_out`` names what was left out. PromptError where that is to be refused."""
    found: list[str] = []
    messages = []
    for index, message in enumerate(prompt.messages):
        kinds = [block.kind for block in message.blocks if block.kind in KINDS]
        if kinds and way is Media.REFUSE:
            raise PromptError(
                f"message {index} ({message.role}): {kinds[0]!r} cannot be read by this model, which reads text. {REMOVE}"
            )
        found += kinds
        messages.append(replace(message, blocks=tuple(map(_in_words, message.blocks))) if kinds else message)
    if not found:
        return prompt
    return replace(prompt, messages=tuple(messages), left_out=(*prompt.left_out, *dict.fromkeys(map(_named, found))))


def _in_words(block: Block) -> Block:
    return Block("text", f"[{_named(block.kind)} was here; this model reads text only]") if block.kind in KINDS else block


def _named(kind: str) -> str:
    return {"image": "an image", "audio": "sound"}.get(kind, "a file")
