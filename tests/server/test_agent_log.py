"""An agent loop through the official SDKs against a live server, its log, and what ``foreword audit`` says of that log.

The log holds what went over the wire: every body as the SDK sent it, every usage as the server answered. A random model
calls no tools, so the loop calls them by itself, beside what the model has written.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from cli.test_cli import run
from foreword.engine import EngineConfig
from foreword.testing.tiny_models import write_model
from prompt.families import TEMPLATES
from server.live import Live, live_server

TURNS = 5
MAX_TOKENS = 6
RULES = "You look after the fox and the lazy dog. Look before you answer, and say where they are. " * 3
QUESTIONS = ["Where is the fox?", "And the dog?", "Who is quick?", "Who is lazy?", "Who jumps over whom?"]
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
TOOLS = {"look": "Look at a place.", "wait": "Wait at a place."}
MARK = {"type": "ephemeral"}

Record = dict[str, Any]
Loop = Callable[[Live, "Recorder", Callable[[int], str]], None]


def stable(_turn: int) -> str:
    """The same system prompt in every turn."""
    return RULES


def dated(turn: int) -> str:
    """The planted fault: the time stands in front of the rules."""
    return f"Now: 2026-03-01 09:4{turn}:07. {RULES}"


class Recorder:
    """Writes a record in Foreword's own form for every response that an SDK's HTTP client gets."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __call__(self, response: Any) -> None:
        response.read()
        took = response.elapsed.total_seconds()
        request, answer = json.loads(response.request.content), response.json()
        self.records.append(
            {
                "ts": time.time() - took,
                "duration": took,
                "provider": "foreword",
                "request": request,
                "response": {"usage": answer["usage"]},
            }
        )


def openai_loop(live: Live, recorder: Recorder, system: Callable[[int], str]) -> None:
    """Chat completions: in every turn a question, a tool call and its result; what was said stays as it is."""
    http = openai.DefaultHttpxClient(event_hooks={"response": [recorder]})
    client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0, timeout=240, http_client=http)
    tools: Any = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": SCHEMA}}
        for name, text in TOOLS.items()
    ]
    turns: list[Any] = []
    for turn in range(TURNS):
        turns.append({"role": "user", "content": QUESTIONS[turn]})
        messages: Any = [{"role": "system", "content": system(turn)}, *turns]
        answer = client.chat.completions.create(
            model="tiny", messages=messages, tools=tools, max_completion_tokens=MAX_TOKENS, temperature=0
        )
        called = {"name": "look", "arguments": json.dumps({"at": f"hill {turn}"})}
        calls = [{"id": f"call_{turn}", "type": "function", "function": called}]
        turns.append({"role": "assistant", "content": answer.choices[0].message.content or "", "tool_calls": calls})
        turns.append({"role": "tool", "tool_call_id": f"call_{turn}", "content": f"hill {turn}: a fox and a dog"})
    client.close()


def anthropic_loop(live: Live, recorder: Recorder, system: Callable[[int], str]) -> None:
    """Messages: the same loop, with marks behind the system prompt and behind the newest turn."""
    http = anthropic.DefaultHttpxClient(event_hooks={"response": [recorder]})
    client = anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0, timeout=240, http_client=http)
    tools: Any = [{"name": name, "description": text, "input_schema": SCHEMA} for name, text in TOOLS.items()]
    turns: list[Any] = []
    results: list[Any] = []
    for turn in range(TURNS):
        content = [*results, {"type": "text", "text": QUESTIONS[turn]}]
        marked = [*content[:-1], {**content[-1], "cache_control": MARK}]
        answer = client.messages.create(
            model="tiny",
            max_tokens=MAX_TOKENS,
            system=[{"type": "text", "text": system(turn), "cache_control": MARK}],  # type: ignore[typeddict-item]
            tools=tools,
            messages=[*turns, {"role": "user", "content": marked}],
            extra_body={"temperature": 0},
        )
        said = [{"type": "text", "text": block.text} for block in answer.content if block.type == "text" and block.text]
        call = {"type": "tool_use", "id": f"toolu_{turn}", "name": "look", "input": {"at": f"hill {turn}"}}
        turns += [{"role": "user", "content": content}, {"role": "assistant", "content": [*said, call]}]
        results = [{"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": f"hill {turn}: a fox and a dog"}]
    client.close()


@dataclass(frozen=True)
class Recorded:
    """The logs of both loops, and the model that answered."""

    model: Path
    stable: list[Record]
    dated: list[Record]


@pytest.fixture(scope="module")
def agent_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model whose template knows tools."""
    path = write_model(tmp_path_factory.mktemp("agent"), "llama", max_position_embeddings=4096)
    (path / "chat_template.jinja").write_text((TEMPLATES / "qwen2_5.jinja").read_text())
    return path


@pytest.fixture(scope="module", params=[openai_loop, anthropic_loop], ids=["openai", "anthropic"])
def recorded(request: pytest.FixtureRequest, agent_model: Path, engine_config: Callable[..., EngineConfig]) -> Recorded:
    """Both loops of one SDK, each on an empty cache."""
    loop: Loop = request.param
    config = engine_config(model=str(agent_model))
    logs: list[list[Record]] = []
    with live_server(config, served_model_name="tiny") as live:
        for system in (stable, dated):
            recorder = Recorder()
            loop(live, recorder, system)
            live.settle()
            live.engine.reset_prefix_cache()
            logs.append(recorder.records)
    return Recorded(agent_model, *logs)


def audit(records: list[Record], model: Path, folder: Path) -> tuple[int, Record]:
    """Exit status and JSON report of ``foreword audit`` on a log, counted with the model's own tokenizer and template."""
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = run("audit", str(log), "--tokenizer", str(model), "--format", "json")
    return result.returncode, json.loads(result.stdout)


def prompt_and_cached(record: Record) -> tuple[int, int]:
    """Tokens of a recorded prompt, and those of them that the server read from its cache."""
    usage = record["response"]["usage"]
    if "prompt_tokens" in usage:
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    return usage["input_tokens"] + read + written, read


def test_every_turn_of_a_stable_loop_reads_all_of_the_turn_before(recorded: Recorded) -> None:
    """The whole prompt of the turn before, and at most as many tokens more as the model answered with."""
    counts = [prompt_and_cached(record) for record in recorded.stable]
    assert len(counts) == TURNS
    assert counts[0][1] == 0
    for (before, _), (_, cached) in pairwise(counts):
        assert before <= cached <= before + MAX_TOKENS


def test_a_stable_loop_has_no_findings(recorded: Recorded, tmp_path: Path) -> None:
    """What the server reported is what a perfect cache hits.

    The audit sees prompts and no answers, so the server may read tokens of its own answers besides. Its counts are those of
    the server, to the token.
    """
    status, report = audit(recorded.stable, recorded.model, tmp_path)
    assert (status, report["findings"], report["unexplained"], report["broken_lines"]) == (0, [], 0, 0)
    assert report["tokens"] == "the given tokenizer and chat template"
    totals = report["totals"]
    counts = [prompt_and_cached(record) for record in recorded.stable]
    assert totals["requests"] == totals["reported"] == TURNS
    assert (totals["reported_prompt"], totals["reported_cached"]) == tuple(map(sum, zip(*counts, strict=True)))
    assert totals["seen"] == totals["cached"] == totals["repaired"]
    assert totals["prompt"] == totals["reported_prompt"]
    assert totals["seen"] == sum(prompt for prompt, _ in counts[:-1])


def test_a_time_at_the_head_is_found_and_its_cost_measured(recorded: Recorded, tmp_path: Path) -> None:
    """The saving that the replay promises is, within a tenth, what the stable loop really had from the cache beyond it."""
    status, report = audit(recorded.dated, recorded.model, tmp_path)
    assert status == 1
    (finding,) = report["findings"]
    assert (finding["code"], finding["label"]) == ("FW101", "system, block 1")
    assert (finding["line"], finding["requests"]) == (2, TURNS - 1)
    assert "Now: 2026-03-01 09:40:07" in finding["old_text"]
    assert "Now: 2026-03-01 09:41:07" in finding["new_text"]
    totals = report["totals"]
    assert totals["seen"] == totals["reported_cached"] > 0
    gained = sum(prompt_and_cached(record)[1] for record in recorded.stable) - totals["reported_cached"]
    assert finding["tokens_lost"] > 0
    assert 0.9 < finding["tokens_lost"] / gained <= 1
