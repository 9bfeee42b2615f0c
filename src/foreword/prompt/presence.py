"""Whether all that was sent stands in the prompt. A chat template is a stranger's program: one that drops a message says so
to nobody.

Texts are looked for in the order in which they were given to the template, each from where the one before it ended, so
that the whole costs about one walk over the prompt. Templates may trim a text, write it as JSON, change its white space,
and leave out what the assistant thought; whatever else is missing is named.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.chat import Message, Tool, tool_name
from foreword.prompt.fitting import FittedConversation
from foreword.prompt.media import KINDS

_NEAR = 4096
"""Signs behind one text within which the next one is expected."""
_WALKS = 64
"""So many times the whole prompt is walked through for texts that stand elsewhere; then it is enough."""
_THOUGHT = re.compile(r"\A.*(?:</\w{0,16}think\w{0,16}>|\[/THINK\]|</reasoning>|<channel\|>|<\|message\|>)", re.DOTALL)
_SPELLING = re.compile(r"\\+(?:u[0-9a-fA-F]{4}|[nrtbf\"'/]?)|(?:[^\w\\]|_)+")


def check_readable(messages: Sequence[Message]) -> None:
    """PromptError for a content that is no text: nothing here can read it."""
    for index, message in enumerate(messages):
        for block in message.blocks:
            if block.kind in KINDS:
                raise PromptError(
                    f"messages.{index} ({message.role}): it holds content of the kind {block.kind!r}, and this model reads "
                    f"text only. Leave it out, or say in words what it shows."
                )


def check_presence(prompt: str, messages: Sequence[Message], fitted: FittedConversation) -> None:
    """PromptError that names the first thing of a conversation that is not in its prompt. Time linear in their lengths.

    ``messages``: the conversation as it was sent, for their names; ``fitted``: as the template was given it.
    """
    reader = _Reader(prompt)
    for index, tool in enumerate(fitted.tools):
        if not all(map(reader.holds, _texts_of_tool(tool))):
            raise PromptError(
                f"tools.{index} ({tool_name(tool)}): the chat template of this model leaves out its name, its description "
                f"or an argument. Describe the tool in the system prompt, or leave it out."
            )
    if fitted.tools:
        reader.start()
    for message, places in zip(fitted.messages, fitted.places, strict=True):
        for what, text in _texts_of_message(message):
            if not reader.holds(text) and not (message.role == "assistant" and reader.holds(_THOUGHT.sub("", text, 1))):
                place = places[0][0]
                name = "tools" if place is None else f"messages.{place} ({messages[place].role})"
                raise PromptError(
                    f"{name}: {what} is not in the prompt, for the chat template of this model leaves it out. Send it as a "
                    f"text of the user, or use another template."
                )


class _Reader:
    """Looks for texts in a prompt, each a little behind the one before."""

    def __init__(self, prompt: str):
        self._prompt = prompt
        self._left = _WALKS * len(prompt)
        self._plain: str | None = None
        self._at = 0

    def start(self) -> None:
        """Go to the front again."""
        self._at = 0

    def holds(self, text: str) -> bool:
        """Whether a text is there. True too when the prompt has been walked through often enough."""
        text = text.strip()
        if not text or self._found(text, self._at, self._at + _NEAR + len(text)):
            return True
        forms = [text, *(json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (False, True))]
        near = self._at + _NEAR + 6 * len(text)  # JSON makes six signs of one
        if any(self._found(form, self._at, near) for form in forms[1:]):
            return True
        if self._left < 0:
            return True
        self._left -= len(self._prompt)
        return any(self._found(form, 0, len(self._prompt)) for form in forms) or self._otherwise_spelt(text)

    def _found(self, form: str, start: int, end: int) -> bool:
        found = self._prompt.find(form, start, end)
        if found >= 0:
            self._at = found + len(form)
        return found >= 0

    def _otherwise_spelt(self, text: str) -> bool:
        """Whether a text is there but for white space, punctuation, and how JSON and HTML escape signs."""
        plain = _plain(text)
        if not plain:
            return False
        if self._plain is None:
            self._plain = _plain(self._prompt)
        return plain in self._plain


def _plain(text: str) -> str:
    return _SPELLING.sub("", html.unescape(text))


def _texts_of_tool(tool: Tool) -> Iterator[str]:
    inner = tool.get("function", tool)
    function = inner if isinstance(inner, Mapping) else {}
    yield tool_name(tool)
    if isinstance(function.get("description"), str):
        yield function["description"]
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    yield from map(str, properties if isinstance(properties, Mapping) else ())


def _texts_of_message(message: Message) -> Iterator[tuple[str, str]]:
    """Every text with what it is; what was thought may be left out."""
    for block in message.blocks:
        if block.kind != "thinking":
            yield "its text", block.text
    for call in message.tool_calls:
        yield f"the call of {call.name!r}", call.name
        for leaf in _leaves(call.opened().arguments):
            yield f"an argument of the call of {call.name!r}", leaf


def _leaves(value: Any) -> Iterator[str]:
    """Names, texts and whole numbers of a JSON value, in the order in which they are written."""
    open_values = [value]
    while open_values:
        value = open_values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            open_values += [part for pair in reversed(list(value.items())) for part in reversed(pair)]
        elif isinstance(value, Sequence):
            open_values += reversed(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(value)
