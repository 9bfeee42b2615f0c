"""What a chat template can write, tried out on small conversations: which roles it knows, in which orders it takes them.

A turn counts as taken where its text is in the prompt, behind the turns before it and before those behind it. What a
template refuses, leaves out, or moves to another place, ``fitting`` gives it otherwise.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.chat import MessageDict, Tool

Render = Callable[[Sequence[MessageDict], Sequence[Tool] | None], str]
"""Messages and tools to text, with a generation prompt; PromptError where the template refuses."""


@dataclass(frozen=True, slots=True)
class TemplateAbilities:
    """What a chat template takes as it is. The default: everything.

    system
        A system text at the head of the conversation, which stays there when turns are added.
    second_system
        Another system message right behind it.
    late_system
        A system message among the turns, written in its place.
    developer, late_developer
        The same of the developer's role, where the template knows it: a template that writes any role's name does not.
    system_alone, system_alone_with_tools
        A conversation that is a system message.
    users_in_row, assistants_in_row
        Several messages of the role, one behind the other.
    assistant_first
        A conversation whose first turn is the assistant's.
    tools
        Tools, with their descriptions.
    calls
        Calls of tools that it writes, and what they gave.
    calls_at_once
        Several calls in one message.
    text_with_calls
        A text in the message of a call, wherever it is written.
    user_after_result
        The user's turn behind what a tool gave.
    """

    system: bool = True
    second_system: bool = True
    late_system: bool = True
    developer: bool = True
    late_developer: bool = True
    system_alone: bool = True
    system_alone_with_tools: bool = True
    users_in_row: bool = True
    assistants_in_row: bool = True
    assistant_first: bool = True
    tools: bool = True
    calls: bool = True
    calls_at_once: bool = True
    text_with_calls: bool = True
    user_after_result: bool = True


def find_abilities(render: Render) -> TemplateAbilities:
    """Try a template out; some thirty short renderings."""
    trial = _Trial(render)
    system = trial.takes("su") and trial.takes("suau")
    tools = trial.takes("u", _TOOLS)
    calls = tools and trial.takes("ucra", _TOOLS) and trial.takes("ucr", _TOOLS)
    system = system and (not tools or trial.takes("su", _TOOLS)) and (not calls or trial.takes("sucr", _TOOLS))
    lead = "s" if system else ""
    developer = trial.knows_developer()
    return TemplateAbilities(
        system=system,
        second_system=system and trial.takes("ssu") and trial.takes("ssuau"),
        late_system=all(trial.takes(lead + turns) for turns in ("us", "usau", "uasu", "uasua")),
        developer=developer,
        late_developer=developer and trial.takes("du") and all(trial.takes("d" + turns) for turns in ("uda", "uadu")),
        system_alone=trial.takes("s"),
        system_alone_with_tools=trial.takes("s", _TOOLS),
        users_in_row=all(trial.takes(lead + turns) for turns in ("uu", "uuauu")),
        assistants_in_row=all(trial.takes(lead + turns) for turns in ("uaau", "uaauaa")),
        assistant_first=all(trial.takes(lead + turns) for turns in ("au", "auau")),
        tools=tools,
        calls=calls,
        calls_at_once=trial.takes("u2rr", _TOOLS) and trial.takes("u2rra", _TOOLS),
        text_with_calls=all(trial.takes(turns, _TOOLS, in_order=False) for turns in ("utr", "utra")),
        user_after_result=all(trial.takes("ucr" + turns, _TOOLS) for turns in ("u", "ua", "ucrua")),
    )


_TOOLS: tuple[Tool, ...] = (
    {
        "type": "function",
        "function": {
            "name": "qzlook",
            "description": "Qzfinds a thing.",
            "parameters": {"type": "object", "properties": {"qzkey": {"type": "string", "description": "What."}}},
        },
    },
)
_MADE_UP = "qzrole"
_ROLES = {"s": "system", "d": "developer", "x": _MADE_UP, "u": "user", "a": "assistant"}


class _Trial:
    """Small conversations, written as letters: s, d, u, a for a message of a role, x of one that nobody knows; c for a call,
    2 for two at once, t for a text with a call, r for what the next call gave."""

    def __init__(self, render: Render):
        self._render = render

    def takes(self, turns: str, tools: Sequence[Tool] | None = None, *, in_order: bool = True) -> bool:
        """Whether all that the turns say is written, in their order unless that is of no matter."""
        messages, texts = _conversation(turns)
        try:
            written = self._render(messages, tools)
        except PromptError:
            return False
        places = [written.find(text) for text in texts]
        if any(place < 0 for place in places) or (in_order and places != sorted(places)):
            return False
        return tools is None or all(word in written for word in ("qzlook", "Qzfinds", "qzkey"))

    def knows_developer(self) -> bool:
        """Whether a leading message of the developer is written, and otherwise than one of a made-up role."""
        if not self.takes("du"):
            return False
        asked = self._written("du")
        made_up = self._written("xu")
        return made_up is None or asked != re.sub(_MADE_UP, "developer", made_up)

    def _written(self, turns: str) -> str | None:
        try:
            return self._render(_conversation(turns)[0], None)
        except PromptError:
            return None


def _conversation(turns: str) -> tuple[list[MessageDict], list[str]]:
    """The messages that letters stand for, and the texts that must be written, in order."""
    messages: list[MessageDict] = []
    texts: list[str] = []
    open_calls: list[str] = []
    for number, letter in enumerate(turns):
        text = f"qzsaid{number}"
        if letter in _ROLES:
            messages.append({"role": _ROLES[letter], "content": text})
            texts.append(text)
        elif letter == "r":
            call_id = open_calls.pop(0)
            messages.append({"role": "tool", "name": "qzlook", "tool_call_id": call_id, "content": text})
            texts.append(text)
        else:
            count = 2 if letter == "2" else 1
            values = [f"qzvalue{number}n{call}" for call in range(count)]
            calls = [_call(f"call{number}{call}0000"[:9], value) for call, value in enumerate(values)]
            open_calls += [call["id"] for call in calls]
            messages.append({"role": "assistant", "content": text if letter == "t" else "", "tool_calls": calls})
            texts += [*([text] if letter == "t" else []), *values]
    return messages, texts


def _call(call_id: str, value: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "qzlook", "arguments": {"qzkey": value}}}
