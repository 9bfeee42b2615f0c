"""Prompts put together from parts that say how long they stay the same, the stable ones first."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foreword.errors import PromptError
from foreword.prompt.canonical import canonical_json, canonical_messages, canonical_text, canonical_tools
from foreword.prompt.chat import MessageDict, ToolDict, tool_name
from foreword.prompt.prices import PriceTable
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import ApproximateTokenizer
from foreword.prompt.vendor_forms import ttl
from foreword.prompt.vendor_forms.anthropic import join_turns, write_turn
from foreword.prompt.vendor_forms.openai import read_message, write_items
from foreword.prompt.vendor_forms.tools import as_anthropic_tool, as_function, as_responses_tool
from foreword.prompt.volatile import find_volatile

_BREAKPOINT = {"mode": "explicit"}


def approximate_count(text: str) -> int:
    """Tokens of a text, about: for hosted models, whose tokenizers are not to be had."""
    return len(ApproximateTokenizer().encode(text).ids)


class PromptBuilder:
    """Collects the parts of a prompt.

        builder = PromptBuilder(tools=TOOLS, names={"user name": user.name})
        builder.static("rules", RULES)
        builder.session("customer", f"The customer is {user.name}.")
        builder.turn("question", question)
        body = builder.build().anthropic("claude-opus-5", max_tokens=500)

    ``static`` parts are the same for everyone, always; ``session`` parts for one user or task; ``turn`` parts are new each
    time. They are written in that order, and within a kind in the order in which they were added. ``names`` are values
    that belong to one user (what they are → the value), and so may not stand in a static part.
    """

    def __init__(self, tools: Sequence[ToolDict] = (), names: Mapping[str, str] | None = None):
        self._names = {what: value for what, value in (names or {}).items() if value.strip()}
        self._tools = canonical_tools(tools)
        for tool in self._tools:
            self._refuse_dynamic(f"tool {tool_name(tool)!r}", canonical_json(tool), ())
        self._static: list[str] = []
        self._session: list[str] = []
        self._turn: list[str] = []

    def static(self, name: str, text: str, allow: Sequence[str] = ()) -> None:
        """Add a part that never changes. PromptError if it holds a date, an id or a user's name, and which.

        ``allow``: values in it that look volatile and are not, such as the date of a law.
        """
        checked = _checked(name, text)
        self._refuse_dynamic(f"static part {name!r}", text, allow)
        self._static.append(checked)

    def session(self, name: str, text: str) -> None:
        """Add a part that stays the same for one user, task or conversation."""
        self._session.append(_checked(name, text))

    def turn(self, name: str, text: str) -> None:
        """Add a part of this request only: the question, and all that is true just now."""
        self._turn.append(_checked(name, text))

    def build(self, history: Sequence[MessageDict] = ()) -> "BuiltPrompt":
        """The prompt, with the messages of the conversation so far between its session and turn parts. Needs a turn part."""
        for message in history:
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise PromptError(f"A message of the history is a dict with 'role' and 'content', not {message!r:.60}.")
        if not self._turn:
            raise PromptError("The prompt has no turn part; add the question with turn(name, text).")
        return BuiltPrompt(
            tuple(self._tools),
            tuple(self._static),
            tuple(self._session),
            tuple(canonical_messages(history)),
            tuple(self._turn),
        )

    def _refuse_dynamic(self, what: str, text: str, allow: Sequence[str]) -> None:
        for value in find_volatile(text):
            found = text[value.start : value.end]
            if found not in allow:
                place = f"({value.kind}, line {_line(text, value.start)})"
                raise PromptError(
                    f"The {what} holds a value that changes: {found!r} {place}. Behind it nothing is found in a cache. "
                    f"Put it into a session or turn part, or allow=[{found!r}] if it never changes."
                )
        for name, personal in self._names.items():
            found_name = re.search(rf"(?<!\w){re.escape(personal)}(?!\w)", text)
            if found_name is not None:
                at = found_name.start()
                raise PromptError(
                    f"The {what} holds the {name} {personal!r} (line {_line(text, at)}), so that no two users share it. "
                    f"Put it into a session part."
                )


@dataclass(frozen=True)
class BuiltPrompt:
    """A prompt in its parts: tools, static texts, session texts, the conversation so far, the texts of this turn."""

    tools: tuple[ToolDict, ...]
    static: tuple[str, ...]
    session: tuple[str, ...]
    history: tuple[MessageDict, ...]
    turn: tuple[str, ...]

    def messages(self) -> list[dict[str, Any]]:
        """The prompt as chat messages without marks; static and session texts are the blocks of the system message."""
        system = _texts(self.static + self.session)
        return canonical_messages([*([{"role": "system", "content": system}] if system else []), *self._talk()])

    def token_ids(self, template: PromptTemplate, **variables: Any) -> list[int]:
        """The prompt for a model of one's own, by its chat template."""
        return template.encode(template.render(self.messages(), list(self.tools) or None, **variables))

    def openai(
        self, model: str, prices: PriceTable | None = None, count: Callable[[str], int] = approximate_count, **fields: Any
    ) -> dict[str, Any]:
        """Body for OpenAI's chat API; ``fields`` are added as they are.

        Marks (``prompt_cache_breakpoint``) go to models that are known to understand them; the others cache by themselves.
        The end of the prompt is marked by OpenAI itself, unless ``prompt_cache_options`` among the fields are explicit.
        """
        _refuse_prompt(fields, ("tools", "messages"))
        system = _texts(self.static + self.session)
        talk = [dict(message) for message in self._talk()]
        for mark in self._openai_marks(model, prices, count, fields) or ():
            if mark.message is not None:
                parts = talk[mark.message]["content"] = _parts(talk[mark.message])
                parts[-1]["prompt_cache_breakpoint"] = _BREAKPOINT
            elif mark.system is not None:
                system[mark.system]["prompt_cache_breakpoint"] = _BREAKPOINT
        body: dict[str, Any] = {"model": model}
        if self.tools:
            body["tools"] = [as_function(tool) for tool in self.tools]
        body["messages"] = [*([{"role": "system", "content": system}] if system else []), *talk]
        return {**body, **fields}

    def responses(
        self, model: str, prices: PriceTable | None = None, count: Callable[[str], int] = approximate_count, **fields: Any
    ) -> dict[str, Any]:
        """Body for OpenAI's responses API; ``fields`` are added as they are, and marks set as for the chat API.

        The static and session texts are the ``instructions``; for models that understand marks, which instructions cannot
        carry, they are a system message at the head of the ``input``.
        """
        _refuse_prompt(fields, ("tools", "instructions", "input"))
        system: list[dict[str, Any]] = [{"type": "input_text", "text": text} for text in self.static + self.session]
        items = [write_items(message) for message in map(read_message, self._talk())]
        marks = self._openai_marks(model, prices, count, fields)
        for mark in marks or ():
            if mark.message is not None:
                item = items[mark.message][-1]
                item["content" if "content" in item else "output"][-1]["prompt_cache_breakpoint"] = _BREAKPOINT
            elif mark.system is not None:
                system[mark.system]["prompt_cache_breakpoint"] = _BREAKPOINT
        body: dict[str, Any] = {"model": model}
        if self.tools:
            body["tools"] = [as_responses_tool(tool) for tool in self.tools]
        if system and marks is None:
            body["instructions"] = "\n\n".join(self.static + self.session)
        elif system:
            items.insert(0, [{"type": "message", "role": "system", "content": system}])
        return {**body, "input": [item for turn in items for item in turn], **fields}

    def anthropic(
        self,
        model: str,
        max_tokens: int,
        prices: PriceTable | None = None,
        count: Callable[[str], int] = approximate_count,
        static_lifetime: Literal["5m", "1h"] = "5m",
        **fields: Any,
    ) -> dict[str, Any]:
        """Body for Anthropic's messages API, with at most four ``cache_control`` marks; ``fields`` are added as they are.

        ``static_lifetime``: how long the static part lives after its last use; an hour costs more to write.
        """
        if static_lifetime not in ttl.ANTHROPIC:
            raise PromptError(
                f"static_lifetime is {static_lifetime!r}; Anthropic keeps a prefix for {', '.join(ttl.ANTHROPIC)}."
            )
        _refuse_prompt(fields, ("tools", "system", "messages"))
        row = (prices or PriceTable.built_in()).find(model)
        tools = [as_anthropic_tool(tool) for tool in self.tools]
        system = _texts(self.static + self.session)
        turns = [write_turn(message) for message in map(read_message, self._talk())]
        for mark in self._marks(row.minimum if row else 0, count):
            lifetime = {"ttl": static_lifetime} if mark.static and static_lifetime != ttl.ANTHROPIC_DEFAULT else {}
            control = {"type": "ephemeral", **lifetime}
            if mark.message is not None:
                turns[mark.message][1][-1]["cache_control"] = control
            else:
                (tools[-1] if mark.system is None else system[mark.system])["cache_control"] = control
        body: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        body |= {name: value for name, value in (("tools", tools), ("system", system)) if value}
        return {**body, "messages": join_turns(turns), **fields}

    def _talk(self) -> list[MessageDict]:
        """The conversation so far and the question."""
        return [*self.history, *canonical_messages([{"role": "user", "content": _texts(self.turn)}])]

    def _openai_marks(
        self, model: str, prices: PriceTable | None, count: Callable[[str], int], fields: Mapping[str, Any]
    ) -> "list[_Mark] | None":
        """The marks for one of OpenAI's models; None if it is not known to understand any."""
        row = (prices or PriceTable.built_in()).find(model)
        if row is None or row.marks != "optional":
            return None
        explicit = (fields.get("prompt_cache_options") or {}).get("mode") == "explicit"
        return [mark for mark in self._marks(row.minimum, count) if explicit or mark.message != len(self.history)]

    def _marks(self, minimum: int, count: Callable[[str], int]) -> list["_Mark"]:
        """The best ends of prefixes to keep, of at least ``minimum`` tokens: at most four, in their order.

        The static part, for everyone; the session part, for this user; and in a conversation the place where the last
        request ended and the one where this one ends, so that the next request finds it.
        """
        system = len(self.static) + len(self.session)
        asked = [at for at, message in enumerate(self.history) if message["role"] != "assistant" and message.get("content")]
        places: list[tuple[bool, _Mark]] = [
            (bool(self.static or self.tools), _Mark(static=True, system=len(self.static) - 1 if self.static else None)),
            (bool(self.session), _Mark(system=system - 1)),
            (bool(asked), _Mark(message=asked[-1] if asked else None)),
            (bool(self.history), _Mark(message=len(self.history))),
        ]
        return [mark for there, mark in places if there and self._tokens_to(mark, count) >= minimum]

    def _tokens_to(self, mark: "_Mark", count: Callable[[str], int]) -> int:
        """About how many tokens stand before the end of a place: those of the texts, without what a template adds."""
        texts = [canonical_json(tool) for tool in self.tools]
        if mark.message is not None:
            texts += [*self.static, *self.session]
            texts += [canonical_json(message) for message in self._talk()[: mark.message + 1]]
        elif mark.system is not None:
            texts += (self.static + self.session)[: mark.system + 1]
        return sum(map(count, texts))


@dataclass(frozen=True)
class _Mark:
    """The end of a system text or of a message (numbers from 0; both None: of the tools)."""

    static: bool = False
    system: int | None = None
    message: int | None = None


def _refuse_prompt(fields: Mapping[str, Any], parts: Sequence[str]) -> None:
    """PromptError for a field that would take the place of a part of the prompt."""
    for name in parts:
        if name in fields:
            raise PromptError(
                f"The field {name!r} would replace the prompt that was built; add parts to the builder instead."
            )


def _texts(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def _parts(message: MessageDict) -> list[dict[str, Any]]:
    content = message.get("content")
    return _texts([content]) if isinstance(content, str) else [dict(part) for part in content or ()]


def _checked(name: str, text: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"The part {name!r} is {text!r}; it must be a text that is not blank.")
    return canonical_text(text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
