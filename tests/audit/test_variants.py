"""Variants of known kinds of log: other wrappers, other places for the model, packed bodies, chains of answers."""

import base64
import gzip
import json
from typing import Any

import pytest

from audit.test_kinds import (
    ANTHROPIC,
    CHAT,
    CHAT_USAGE,
    CLAUDE,
    GEMINI,
    OPENAI,
    RUN,
    STREAM,
    SYSTEM,
    TURNS,
    har,
    lines,
    read,
    texts,
)
from foreword.audit.request import ReportedUsage

EVENTS = [json.loads(line[5:]) for line in STREAM.splitlines() if line.startswith("data:")]
FLAT_SPAN = {"name": "chat", "start_time": "2026-01-01T10:00:00Z"}
VARIANTS: dict[str, tuple[Any, str, str, ReportedUsage | None]] = {
    "base64 with a model id": (
        {
            "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "body": base64.b64encode(json.dumps(CLAUDE | {"model": None}).encode()).decode(),
        },
        "Anthropic messages",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        None,
    ),
    "Vertex, the model in the address": (
        {
            "url": "https://x/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
            "body": CLAUDE | {"model": None},
        },
        "Anthropic messages",
        "claude-sonnet-4-5@20250929",
        None,
    ),
    "Vertex's own log": (
        {
            "logging_time": "2026-01-01T10:00:00Z",
            "model": "gemini-2.5-pro",
            "full_request": GEMINI["request"],
            "full_response": GEMINI["response"],
        },
        "Gemini generateContent",
        "gemini-2.5-pro",
        OPENAI,
    ),
    "Azure, the deployment in the address": (
        {"url": "https://x/openai/deployments/mine/chat/completions?api-version=1", "body": CHAT | {"model": None}},
        "OpenAI chat completions",
        "mine",
        None,
    ),
    "chunks of a stream": (
        {"request": CHAT, "response": {"chunks": [{"choices": []}, {"choices": [], "usage": CHAT_USAGE}]}},
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
    "Weave": (
        {"op_name": "openai.create", "started_at": "2026-01-01T10:00:00Z", "inputs": CHAT, "output": {"usage": CHAT_USAGE}},
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
    "Anthropic's batch as it is sent": (
        {"requests": [{"custom_id": "a", "params": CLAUDE}]},
        "batch input",
        "claude-sonnet-4-5",
        None,
    ),
    "a run with children": (
        {"run_type": "chain", "inputs": {}, "child_runs": [{"run_type": "chain", "child_runs": [RUN]}]},
        "LangSmith runs",
        "gpt-4o",
        OPENAI,
    ),
    "messages as events": (
        FLAT_SPAN
        | {
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
            "events": [
                {"name": "gen_ai.system.message", "attributes": {"content": SYSTEM}},
                {"name": "gen_ai.user.message", "attributes": {"content": "Hi"}},
            ],
        },
        "OpenTelemetry GenAI spans",
        "gpt-4o",
        None,
    ),
    "Vercel's AI SDK": (
        {
            "name": "ai.generateText.doGenerate",
            "startTime": [1767261600, 0],
            "attributes": {
                "gen_ai.request.model": "gpt-4o",
                "ai.prompt.messages": json.dumps(TURNS),
                "gen_ai.usage.input_tokens": 90,
                "ai.usage.cachedInputTokens": 64,
            },
        },
        "OpenTelemetry GenAI spans",
        "gpt-4o",
        OPENAI,
    ),
    "Phoenix's table": (
        FLAT_SPAN
        | {
            "attributes.llm.model_name": "gpt-4o",
            "attributes.llm.input_messages": [{"message.role": "user", "message.content": "Hi"}],
            "attributes.llm.token_count.prompt": 90,
            "attributes.llm.token_count.prompt_details.cache_read": 64,
        },
        "OpenTelemetry GenAI spans",
        "gpt-4o",
        OPENAI,
    ),
    "HAR with a packed answer": (
        har(CLAUDE, base64.b64encode(gzip.compress(STREAM.encode())).decode(), encoding="base64"),
        "HAR",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "a stream's events as a list": (
        {"request": CLAUDE, "response": EVENTS},
        "Anthropic messages",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "a stream's lines as a list": (
        {"request": CLAUDE, "response": STREAM.splitlines()},
        "Anthropic messages",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "events beside the request": (
        {"request": CLAUDE, "events": EVENTS},
        "Anthropic messages",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "a stream as claude-trace has it": (
        {"request": {"timestamp": 1767261600, "body": CLAUDE}, "response": {"body_raw": STREAM}},
        "Anthropic messages",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "names of JavaScript": (
        {"requestBody": json.dumps(CHAT), "responseBody": {"usage": CHAT_USAGE}, "timestamp": "2026-01-01T10:00:00Z"},
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
    "an HTTP logger": (
        {
            "time": "2026-01-01T10:00:00Z",
            "req": {"url": "/v1/chat/completions", "body": CHAT},
            "res": {"body": {"usage": CHAT_USAGE}},
        },
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
    "input and output": (
        {"input": CHAT, "output": {"usage": CHAT_USAGE}},
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
    "an event with a payload": (
        {"ts": 1767261600, "type": "llm", "payload": {"request": {"body": CHAT}, "response": {"usage": CHAT_USAGE}}},
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_record_of_every_variant(name: str) -> None:
    record, kind, model, usage = VARIANTS[name]
    reading, requests = read(lines(record))
    assert reading.broken == []
    assert [(request.kind, request.model, request.usage) for request in requests] == [(kind, model, usage)]
    assert requests[0].time in (1767261600, None)


OWN = {"request": CHAT, "response": {"usage": CHAT_USAGE}}
CARRIED = {
    "Docker": {"log": json.dumps(OWN) + "\n", "stream": "stdout", "time": "2026-01-01T10:00:00Z"},
    "journald": {"MESSAGE": json.dumps(OWN), "__REALTIME_TIMESTAMP": "1767261600000000"},
    "CloudWatch": {"@timestamp": "2026-01-01T10:00:00Z", "@message": json.dumps(OWN)},
    "a structured logger": {"timestamp": "2026-01-01T10:00:00Z", "level": "info", "message": json.dumps(OWN)},
    "Google": {"jsonPayload": OWN, "timestamp": "2026-01-01T10:00:00Z"},
    "Elastic": {"hits": {"total": 1, "hits": [{"_id": "x", "_source": {**OWN, "@timestamp": 0, "ts": 1767261600}}]}},
    "an export": {"data": [{**OWN, "ts": 1767261600}], "next": None},
    "an export in pages": {"data": {"items": [{**OWN, "ts": 1767261600}]}},
}


@pytest.mark.parametrize("name", CARRIED)
def test_what_collectors_put_around_a_record_is_taken_off(name: str) -> None:
    reading, (request,) = read(lines(CARRIED[name]))
    assert reading.broken == []
    assert (request.model, request.usage, request.time) == ("gpt-4o", OPENAI, 1767261600)


@pytest.mark.parametrize(
    "words", ["2026-01-01T10:00:00Z INFO request ", "[2026-01-01 10:00:00,000] my.logger INFO: ", "DEBUG:openai:sent "]
)
def test_words_in_front_of_an_object(words: str) -> None:
    reading, (request,) = read([words + json.dumps(OWN) + "\n"])
    assert reading.broken == []
    assert (request.model, request.usage) == ("gpt-4o", OPENAI)
    assert request.time == (None if words.startswith("DEBUG") else 1767261600)


def test_what_is_carried_and_is_no_request_is_counted_once() -> None:
    reading, requests = read(lines({"level": "info", "message": "up"}, {"log": '{"level": "info"}'}, {"data": [{"a": 1}]}))
    assert requests == []
    assert reading.broken_lines == 3
    assert "no request body that is known" in reading.broken[1][1]


def test_a_posted_body_may_be_packed() -> None:
    entry = har(CLAUDE, "{}")
    entry["request"]["postData"]["text"] = base64.b64encode(gzip.compress(json.dumps(CLAUDE).encode())).decode()
    assert read(lines(entry))[1][0].model == "claude-sonnet-4-5"


def test_responses_that_go_on_by_an_id_are_rebuilt() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}
    first = {"request": {"model": "gpt-5", "input": "one"}, "response": {"id": "resp_1", "output": [said]}}
    second = {
        "request": {"model": "gpt-5", "previous_response_id": "resp_1", "input": "two"},
        "response": {"id": "resp_2", "output": []},
    }
    _, (one, two) = read(lines(first, second))
    assert (texts(one), texts(two)) == (["one"], ["one", "yes", "two"])
    reading, (lone,) = read(lines(second))
    assert texts(lone) == ["two"]
    assert list(reading.kinds) == ["OpenAI responses that go on from one that is not in the log"]


def test_a_table_is_named() -> None:
    reading, requests = read(["id,name,model,input\n", '1,x,gpt-4o,"[]"\n'])
    assert requests == []
    assert "CSV" in reading.broken[0][1]
