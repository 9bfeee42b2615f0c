"""Is a chat template append-only? Each request of a conversation must begin with the one before it, token for token; where
a template writes the history otherwise than before (thinking that comes and goes, tools that move to the last question, a
date), everything behind that place is computed again with every turn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from foreword.errors import PromptError
from foreword.prompt.chat import MessageDict, Tool
from foreword.prompt.segments import SegmentedPrompt, segment
from foreword.prompt.template import PromptTemplate
from foreword.tokens import pack_tokens, shared_tokens

_EXCERPT = 60


@dataclass(frozen=True)
class Scenario:
    """A conversation to try a template on; a request is sent before each of the model's messages, and at the end."""

    name: str
    messages: tuple[MessageDict, ...]
    tools: tuple[Tool, ...] | None = None
    day_passes: bool = False
    """The second request is the first one, sent a day later."""


@dataclass(frozen=True)
class Break:
    """Where a request first parts from the one before it, which it should begin with.

    ``request`` is the number of the request, from 2; ``position`` the first token that differs, in a piece named
    ``label``; ``old`` and ``new`` are what stands there in the earlier and in this request. ``lost_tokens`` of the earlier
    prompt are computed again.
    """

    request: int
    position: int
    label: str
    old: str
    new: str
    lost_tokens: int


@dataclass(frozen=True)
class Check:
    """What came of one scenario.

    ``requests`` were rendered, with ``prompt_tokens`` in all. ``break_`` is the first break, ``lost_tokens`` what all
    breaks cost: tokens of an earlier prompt that the next one cannot reuse, of ``reusable_tokens`` that it could with an
    append-only template. ``answers_kept`` says whether the model's answers, as it wrote them, stand right behind their
    prompts in the next request (None where that cannot be told), so that they are reused too. ``refused`` is what the
    template said if it does not take such a conversation.
    """

    scenario: str
    requests: int = 0
    prompt_tokens: int = 0
    reusable_tokens: int = 0
    lost_tokens: int = 0
    break_: Break | None = None
    answers_kept: bool | None = None
    refused: str | None = None
    tools_ignored: bool = False

    @property
    def append_only(self) -> bool:
        """Whether every request began with the one before it."""
        return self.refused is None and self.break_ is None


def audit_template(
    template: PromptTemplate,
    scenarios: Iterable[Scenario] | None = None,
    now: datetime = datetime(2026, 1, 5, 12),
    **variables: Any,
) -> list[Check]:
    """Try a template on scenarios (default: those of this module). ``variables`` are the template's own."""
    return [_check(template, scenario, now, variables) for scenario in (scenarios or default_scenarios())]


def _check(template: PromptTemplate, scenario: Scenario, now: datetime, variables: Mapping[str, Any]) -> Check:
    tools = list(scenario.tools) if scenario.tools else None
    turns = [message["role"] == "assistant" for message in scenario.messages]
    lengths = [n for n in range(1, len(turns) + 1) if not turns[n - 1] and (n == len(turns) or turns[n])]
    if scenario.day_passes:
        lengths = [lengths[0], lengths[0]]
    days = [now + timedelta(days=number * scenario.day_passes) for number in range(len(lengths))]
    try:
        texts = [
            template.render(scenario.messages[:length], tools, now=day, **variables)
            for length, day in zip(lengths, days, strict=True)
        ]
    except PromptError as error:
        return Check(scenario.name, refused=str(error.__cause__ or error))
    prompts = [template.encode(text) for text in texts]
    shared = [shared_tokens(one, two) for one, two in pairwise(map(pack_tokens, prompts))]
    lost = [len(prompt) - common for prompt, common in zip(prompts, shared, strict=False)]
    first = next((number for number, tokens in enumerate(lost) if tokens), None)
    broken = None
    if first is not None:
        new = segment(template, scenario.messages[: lengths[first + 1]], tools, now=days[first + 1], **variables)
        broken = _describe_break(first + 2, shared[first], lost[first], texts[first], new)
    return Check(
        scenario=scenario.name,
        requests=len(prompts),
        prompt_tokens=sum(map(len, prompts)),
        reusable_tokens=sum(map(len, prompts[:-1])),
        lost_tokens=sum(lost),
        break_=broken,
        answers_kept=_answers_kept(scenario, lengths, texts),
        tools_ignored=tools is not None
        and texts[0] == _rendered_bare(template, scenario.messages[: lengths[0]], now, variables),
    )


def _rendered_bare(
    template: PromptTemplate, messages: Sequence[MessageDict], now: datetime, variables: Mapping[str, Any]
) -> str | None:
    """The same without tools; None from a template that takes nothing without them."""
    try:
        return template.render(messages, None, now=now, **variables)
    except PromptError:
        return None


def _describe_break(request: int, position: int, lost: int, old: str, new: SegmentedPrompt) -> Break:
    place = len(new.text_before(position))
    return Break(
        request=request,
        position=position,
        label=new.label_at(position),
        old=old[place : place + _EXCERPT],
        new=new.text[place : place + _EXCERPT],
        lost_tokens=lost,
    )


def _answers_kept(scenario: Scenario, lengths: Sequence[int], texts: Sequence[str]) -> bool | None:
    """Whether each answer of plain text follows its prompt as the model wrote it."""
    kept = None
    for length, text, later in zip(lengths, texts, texts[1:], strict=False):
        answer = scenario.messages[length] if length < len(scenario.messages) else {}
        if answer.get("role") != "assistant" or "tool_calls" in answer or scenario.day_passes:
            continue
        written = answer.get("reasoning_content", answer["content"])
        follows = later[len(text) :].lstrip("\n").removeprefix("<think>").lstrip("\n")
        kept = kept is not False and later.startswith(text) and follows.startswith((written, f" {written}"))
    return kept


def default_scenarios() -> list[Scenario]:
    """What people do with chat models: chat, tools, thinking, changed instructions, another day."""
    system = {"role": "system", "content": "You are a clerk at the information desk of a railway station. " + _TEXT}
    turns = [_say("user", 1), _say("assistant", 2), _say("user", 3), _say("assistant", 4), _say("user", 5)]
    thinking = [{**turn, "reasoning_content": f"Number {n}: {_TEXT}"} if n % 2 else turn for n, turn in enumerate(turns)]
    called = [turns[0], _call("a"), _result("a"), turns[1], turns[2], _call("b"), _result("b"), turns[3], turns[4]]
    both = [turns[0], _call("a", "b"), _result("a"), _result("b"), turns[1], turns[2]]
    thought = [
        {**turn, "reasoning_content": f"Thought {n}: {_TEXT}"} if turn["role"] == "assistant" else turn
        for n, turn in enumerate(called)
    ]
    trailing = [{**turn, "content": f" {turn['content']} \n"} for turn in turns]
    changed = [*turns[:2], {"role": "system", "content": "From now on answer in French."}, *turns[2:]]
    return [
        Scenario("chat", (system, *turns)),
        Scenario("chat without system", tuple(turns)),
        Scenario("blanks around texts", (system, *trailing)),
        Scenario("tools", (system, *called), _TOOLS),
        Scenario("two tools at once", (system, *both), _TOOLS),
        Scenario("thinking", (system, *thinking)),
        Scenario("thinking and tools", (system, *thought), _TOOLS),
        Scenario("system message on the way", (system, *changed)),
        Scenario("the next day", (system, turns[0]), day_passes=True),
    ]


_TEXT = "Trains leave every hour from seven in the morning; the night train leaves at ten, and needs a reservation. "
_TOOLS = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Look up {name}.",
            "parameters": {"type": "object", "properties": {"station": {"type": "string"}}, "required": ["station"]},
        },
    }
    for name in ("departures", "fares")
)


def _say(role: str, number: int) -> dict[str, Any]:
    return {"role": role, "content": f"{role.capitalize()} text number {number}. {_TEXT}".strip()}


def _call(*names: str) -> dict[str, Any]:
    calls = [
        {"id": f"call{name}0000", "type": "function", "function": {"name": "departures", "arguments": {"station": name}}}
        for name in names
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _result(name: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call{name}0000", "name": "departures", "content": f"{name}: 7:00, 8:00, 9:00"}
