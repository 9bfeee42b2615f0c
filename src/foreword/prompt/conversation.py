"""A conversation that can only grow, so that each request begins with the one before it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.canonical import canonical_messages, canonical_tools
from foreword.prompt.chat import SYSTEM_ROLES, MessageDict, ToolDict, tool_name
from foreword.prompt.vendor_forms.anthropic import join_turns, write_turn
from foreword.prompt.vendor_forms.blocks import write_block
from foreword.prompt.vendor_forms.openai import allowed_tools, holds_result, read_message
from foreword.prompt.vendor_forms.tools import as_anthropic_tool, as_function

_ALLOWED_NOTE = "For this answer, use only these tools: {names}."
_NONE_ALLOWED_NOTE = "Answer this without tools."


@dataclass(frozen=True)
class Conversation:
    """Messages and a tool set. Immutable: every method gives another conversation, and this one stays valid.

    The tools are fixed by ``start``; a turn may allow fewer of them (``ask``), which is said at its end and so leaves
    everything before it as it was. Messages and tools are kept in canonical form. ``allowed`` are the tools that the last
    turn allows (None: all). ``parent`` is the conversation this one was branched or compacted from.
    """

    _tools: tuple[ToolDict, ...] = ()
    _messages: tuple[MessageDict, ...] = ()
    allowed: tuple[str, ...] | None = None
    parent: "Conversation | None" = None

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """The tools in canonical form: copies, free to change."""
        return tuple(deepcopy(dict(tool)) for tool in self._tools)

    @property
    def messages(self) -> tuple[dict[str, Any], ...]:
        """The messages in canonical form: copies, free to change."""
        return tuple(deepcopy(dict(message)) for message in self._messages)

    @classmethod
    def start(cls, system: str | Sequence[str] = (), tools: Sequence[ToolDict] = ()) -> "Conversation":
        """Begin with system texts, the stable ones first, and all tools that any turn will need."""
        texts = [system] if isinstance(system, str) else list(system)
        content = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
        head = [{"role": "system", "content": content}] if texts else []
        return cls(tuple(canonical_tools(tools)), tuple(canonical_messages(head)))

    def ask(self, text: str, allowed_tools: Sequence[str] | None = None) -> "Conversation":
        """Add a question. ``allowed_tools`` narrows the tools for this turn; PromptError for one unknown at the start."""
        if not isinstance(text, str):
            raise PromptError(f"A question is a text, not {text!r:.60}.")
        known = [tool_name(tool) for tool in self._tools]
        for name in allowed_tools or ():
            if name not in known:
                raise PromptError(
                    f"The tool {name!r} is not in this conversation, which has {known}. Tools stand before all messages: "
                    f"give them all at the start, and narrow them by turn."
                )
        if allowed_tools is not None and self._tools:
            note = _ALLOWED_NOTE.format(names=", ".join(allowed_tools)) if allowed_tools else _NONE_ALLOWED_NOTE
            text = f"{text}\n\n{note}"
        allowed = None if allowed_tools is None else tuple(allowed_tools)
        return replace(self.add({"role": "user", "content": text}), allowed=allowed)

    def add(self, *messages: MessageDict) -> "Conversation":
        """Add messages at the end: answers, tool results. PromptError for a message without a role."""
        for message in messages:
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise PromptError(f"A message is a dict with 'role' and 'content', not {message!r}.")
        return replace(self, _messages=(*self._messages, *canonical_messages(messages)))

    def branch(self, at: int) -> "Conversation":
        """The first ``at`` messages, to go on from there in another way: an edit is a branch and an add."""
        if not 0 <= at <= len(self._messages):
            raise PromptError(f"There is no message {at}; the conversation has {len(self._messages)}.")
        return replace(self, _messages=self._messages[:at], allowed=None, parent=self)

    def compact(self, summary: str, head: int, tail: int) -> "Conversation":
        """The first ``head`` messages as they are, a summary of what follows, and the last ``tail`` messages.

        What stands before the summary stays in the cache. PromptError if nothing is left to summarise, or if a tool call
        would be parted from its results.
        """
        count = len(self._messages)
        if head < 0 or tail < 0 or head + tail >= count:
            raise PromptError(f"head={head} and tail={tail} leave nothing to summarise of {count} messages.")
        kept = self._messages[count - tail :]
        if kept and holds_result(kept[0]):
            raise PromptError(f"With tail={tail} a tool's result would stand without its call; keep one message more.")
        if holds_result(self._messages[head]):
            raise PromptError(f"With head={head} a tool call would stand without its result; keep one message less or more.")
        note = {"role": "user", "content": f"Summary of the conversation so far:\n{summary}"}
        return replace(
            self, _messages=(*self._messages[:head], *canonical_messages([note]), *kept), allowed=None, parent=self
        )

    def shared_with(self, other: "Conversation") -> int:
        """How many leading messages two conversations share; 0 if their tools differ."""
        if self.tools != other.tools:
            return 0
        pairs = zip(self.messages, other.messages, strict=False)
        return next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(self._messages), len(other.messages)))

    def openai_tool_choice(self) -> dict[str, Any] | str | None:
        """``tool_choice`` for OpenAI's chat API, which narrows the tools of the last turn and leaves the prefix alone."""
        if self.allowed is None or not self._tools:
            return None
        return allowed_tools(self.allowed)

    def openai(self, model: str, **fields: Any) -> dict[str, Any]:
        """Body for OpenAI's chat API; ``fields`` are added as they are. ``tool_choice`` narrows the last turn's tools."""
        body: dict[str, Any] = {"model": model}
        if self._tools:
            body["tools"] = [as_function(tool) for tool in self.tools]
        body["messages"] = list(self.messages)
        choice = self.openai_tool_choice()
        return {**body, **({} if choice is None else {"tool_choice": choice}), **fields}

    def anthropic(self, model: str, max_tokens: int, **fields: Any) -> dict[str, Any]:
        """Body for Anthropic's messages API, with marks at the end of the system prompt and of the conversation; ``fields``
        are added as they are. PromptError for a message that has no place there."""
        said = self.messages
        head = [message for message in said[:1] if message["role"] in SYSTEM_ROLES]
        system = [write_block(block) for message in map(read_message, head) for block in message.blocks]
        turns = join_turns(write_turn(message) for message in map(read_message, said[len(head) :]))
        for blocks in (system, turns[-1]["content"] if turns else []):
            if blocks:
                blocks[-1]["cache_control"] = {"type": "ephemeral"}
        body: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        if self._tools:
            body["tools"] = [as_anthropic_tool(tool) for tool in self.tools]
        if system:
            body["system"] = system
        return {**body, "messages": turns, **fields}
