"""Logs of agents with one planted fault each, and their clean twins: does the audit tell the rule, and the tokens it costs?

Sessions of an agent with tools, on Anthropic's API (marks on the system prompt and on the last message) or on OpenAI's. A
fault changes each request as a client, a gateway or a router does; the twin is the same log without it, or as the advice
would have it. What the fault costs is found by ``provider_replay``, which shares nothing with the auditor.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from foreword.audit import ByteTokens, Report, audit
from foreword.prompt.prices import PriceTable
from foreword.testing.provider_replay import AnthropicReplay, Body, OpenAIReplay, Read

START, GAP, PAUSE = 1_767_225_600.0, 25.0, 60.0
MARK = {"type": "ephemeral"}
MODEL, DATED = "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"
TOOLS = ("bash", "read", "write", "edit", "glob", "grep", "mcp_jira_find", "mcp_jira_note", "mcp_git_list", "mcp_db_query")
PARALLEL = 30
TOLERANCE = 0.1


@dataclass
class Turn:
    """One request in the making: the record of the log, which session and turn it is, and chance of its own."""

    session: int
    number: int
    record: dict[str, Any]
    seed: str

    @property
    def body(self) -> Body:
        """The request's body."""
        body: Body = self.record["request"]
        return body

    @property
    def odd(self) -> bool:
        """Whether it is every second turn."""
        return self.number % 2 == 1

    @property
    def system(self) -> Body:
        """The long block of the system prompt."""
        block: Body = self.body["system"][1]
        return block

    def chance(self, *of: object) -> random.Random:
        """A source of chance, the same for the same names."""
        return random.Random(f"{self.seed} {of}")

    def blocks(self, kind: str) -> list[Body]:
        """All blocks of a kind in the messages."""
        return [block for message in self.body["messages"] for block in message["content"] if block["type"] == kind]


Change = Callable[[Turn], None]


def as_it_is(_turn: Turn) -> None:
    """Nothing is changed."""


@dataclass(frozen=True)
class Fault:
    """A fault: the rule that is to tell it (empty: a control, nothing is to be told), how it is planted, what the twin does
    otherwise than the plain log, and what the log has (``thinking``, ``images``, ``openai``).

    ``usage``: the log has what the provider reported; ``forgets``: it reads nothing.
    """

    name: str
    code: str
    plant: Change
    twin: Change = as_it_is
    has: frozenset[str] = field(default_factory=frozenset)
    usage: bool = False
    forgets: bool = False


@dataclass(frozen=True)
class Verdict:
    """What was planted, and what was told: rule codes in their order, tokens of the one that was meant."""

    name: str
    seed: int
    planted: str
    told: tuple[str, ...]
    tokens: int
    tokens_told: int
    twin_told: tuple[str, ...]

    @property
    def right(self) -> bool:
        """The right rule and no other, its tokens within a tenth, and nothing in the twin."""
        close = abs(self.tokens_told - self.tokens) <= TOLERANCE * self.tokens
        return self.told == ((self.planted,) if self.planted else ()) and close and not self.twin_told


def check(fault: Fault, seed: int, sessions: int = 3, turns: int = 12) -> Verdict:
    """Audit a log with a fault, and its twin."""
    faulty, clean = (log(fault, change, seed, sessions, turns) for change in (fault.plant, fault.twin))
    reads, twins = (replayed(fault, lines) for lines in (faulty, clean))
    if fault.usage:
        reads = [Read(read.prompt, 0) for read in reads] if fault.forgets else reads
        for lines, reported in ((faulty, reads), (clean, twins)):
            for line, read in zip(lines, reported, strict=True):
                line["response"] = {"usage": _usage(fault, read)}
    report, twin = audited(faulty), audited(clean)
    told = tuple(finding.code for finding in report.findings)
    tokens = sum(read.prompt - read.cached for read in reads) - sum(read.prompt - read.cached for read in twins)
    return Verdict(
        fault.name,
        seed,
        fault.code,
        told,
        tokens if fault.code else 0,
        sum(finding.tokens_lost for finding in report.findings if finding.code == fault.code),
        tuple(finding.code for finding in twin.findings),
    )


def audited(lines: list[dict[str, Any]]) -> Report:
    """The audit's report on a log."""
    raw = [json.dumps(line).encode() + b"\n" for line in lines]
    return audit(lambda _purpose: raw, ByteTokens(), PriceTable.built_in())


def replayed(fault: Fault, lines: list[dict[str, Any]]) -> list[Read]:
    """What the provider reads for each request of a log."""
    provider = OpenAIReplay() if "openai" in fault.has else AnthropicReplay()
    return [provider.read(line["ts"], line["request"], line.get("model_id", "")) for line in lines]


def table(verdicts: list[Verdict]) -> str:
    """The verdicts as a table in Markdown, a row a fault; tokens are those of the first seed."""
    names = list(dict.fromkeys(verdict.name for verdict in verdicts))
    rows = ["| planted | rule | told | tokens lost | tokens told | right |", "|---|---|---|---|---|---|"]
    for name in names:
        of = [verdict for verdict in verdicts if verdict.name == name]
        told = ", ".join(sorted({code for verdict in of for code in verdict.told})) or "nothing"
        right = f"{sum(verdict.right for verdict in of)} of {len(of)}"
        rows.append(
            f"| {name} | {of[0].planted or '(control)'} | {told} | {of[0].tokens:,} | {of[0].tokens_told:,} | {right} |"
        )
    return "\n".join(rows) + "\n"


def log(fault: Fault, change: Change, seed: int, sessions: int, turns: int) -> list[dict[str, Any]]:
    """The records of a log, each request changed."""
    lines, at, prose = [], START, Prose(f"{seed}")
    tools = [_tool(prose, name) for name in TOOLS]
    system, notes = prose.of(1_500), prose.of(300)
    for session in range(sessions):
        own = Prose(f"{seed} {session}")
        history = [{"role": "user", "content": _first_blocks(own, notes, fault.has)}]
        for number in range(turns):
            rules = [{"type": "text", "text": "You are an agent."}, {"type": "text", "text": system, "cache_control": MARK}]
            body = {"model": MODEL, "tools": tools, "system": rules, "messages": history}
            record = {"ts": at, "user": f"u{session}", "duration": 4.0, "request": body}
            turn = Turn(session, number, json.loads(json.dumps(record)), f"{seed}")
            turn.body["messages"][-1]["content"][-1]["cache_control"] = MARK
            if "openai" in fault.has:
                turn.record["request"] = as_chat(turn.body)
            change(turn)
            lines.append(turn.record)
            at += GAP
            history += _answered(own, number, fault.has)
        at += PAUSE
    return lines


def _vocabulary() -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(400)]


VOCABULARY = _vocabulary()


class Prose:
    """Sentences of made-up words, the same for the same seed."""

    def __init__(self, seed: str):
        self._rng = random.Random(seed)

    def of(self, words: int) -> str:
        """So many words, a line for every fourteen."""
        said = self._rng.choices(VOCABULARY, k=words)
        return "\n".join(" ".join(said[i : i + 14]) + "." for i in range(0, words, 14))

    def code(self, digits: int) -> str:
        """A hexadecimal number."""
        return "".join(self._rng.choices("0123456789abcdef", k=digits))


def as_chat(body: Body) -> Body:
    """The same request in the form of OpenAI's chat completions."""
    messages: list[Body] = [{"role": "system", "content": "\n".join(block["text"] for block in body["system"])}]
    for message in body["messages"]:
        of = {kind: [block for block in message["content"] if block["type"] == kind] for kind in ("text", "tool_use")}
        results = [block for block in message["content"] if block["type"] == "tool_result"]
        messages += [{"role": "tool", "tool_call_id": one["tool_use_id"], "content": one["content"]} for one in results]
        if not results:
            said: Body = {"role": message["role"], "content": "\n".join(block["text"] for block in of["text"])}
            if of["tool_use"]:
                said["tool_calls"] = [_call(block) for block in of["tool_use"]]
            messages.append(said)
    tools = [
        {"type": "function", "function": {"name": tool["name"], "description": tool["description"]}}
        for tool in body["tools"]
    ]
    return {"model": "gpt-5.1", "messages": messages, "tools": tools}


def _call(block: Body) -> Body:
    return {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
    }


def _usage(fault: Fault, read: Read) -> Body:
    if "openai" in fault.has:
        return {"prompt_tokens": read.prompt, "prompt_tokens_details": {"cached_tokens": read.cached}}
    return {"input_tokens": read.prompt - read.cached, "cache_read_input_tokens": read.cached}


def _tool(prose: Prose, name: str) -> Body:
    path = {"type": "string", "description": prose.of(10)}
    schema = {"type": "object", "properties": {"path": path}, "required": ["path"]}
    return {"name": name, "description": prose.of(40), "input_schema": schema}


def _first_blocks(prose: Prose, notes: str, has: frozenset[str]) -> list[Body]:
    blocks: list[Body] = [{"type": "text", "text": f"<system-reminder>\n# Notes\n{notes}\n</system-reminder>"}]
    if "images" in has:
        blocks.append({"type": "image", "source": jpeg(prose.code(400))})
    return [*blocks, {"type": "text", "text": "Task: " + prose.of(60)}]


def jpeg(data: str) -> Body:
    """The source of a picture."""
    return {"type": "base64", "media_type": "image/jpeg", "data": "/9j/" + data}


def _answered(prose: Prose, number: int, has: frozenset[str]) -> list[Body]:
    """The answer to a turn, and the message that comes back: a call and its result."""
    call = "toolu_" + prose.code(20)
    said: list[Body] = []
    if "thinking" in has:
        said.append({"type": "thinking", "thinking": prose.of(80), "signature": prose.code(64)})
    said.append({"type": "text", "text": "I read the file. "})
    said.append({"type": "tool_use", "id": call, "name": "read", "input": {"path": f"src/m{number}.py", "limit": 2000.0}})
    result = {"type": "tool_result", "tool_use_id": call, "content": f"exit 0 in 0.{number}s\n{prose.of(250)}"}
    return [{"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
