"""Every kind of log is told by its content and read for what it is; what cannot be read is refused by name."""

import base64
import json
from typing import Any

import pytest

from foreword.audit.readers import BatchAnswers, LogPass
from foreword.audit.request import LoggedRequest, ReportedUsage

SYSTEM = "Be brief. " * 20
TURNS = [
    {"role": "user", "content": "Read a.py"},
    {"role": "assistant", "content": "I did."},
    {"role": "user", "content": "And b.py"},
]
CHAT = {"model": "gpt-4o", "messages": [{"role": "system", "content": SYSTEM}, *TURNS]}
CLAUDE = {"model": "claude-sonnet-4-5", "system": SYSTEM, "messages": TURNS}
CHAT_USAGE = {"prompt_tokens": 90, "prompt_tokens_details": {"cached_tokens": 64}}
CLAUDE_USAGE = {"input_tokens": 3, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 7}
PARTS = [
    {"role": "user", "parts": [{"type": "text", "content": "Read a.py"}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "Read", "arguments": {"path": "a.py"}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "five"}]},
]


def lines(*records: Any) -> list[str]:
    return [json.dumps(record) + "\n" for record in records]


def read(log: list[str], answers: BatchAnswers | None = None) -> tuple[LogPass, list[LoggedRequest]]:
    reading = LogPass(answers or BatchAnswers(), 2**20)
    return reading, list(reading.requests(log))


def texts(request: LoggedRequest) -> list[str]:
    return [piece.text for piece in request.pieces]


def har(body: Any, answer: str, **content: str) -> dict[str, Any]:
    return {
        "startedDateTime": "2026-01-01T10:00:00Z",
        "time": 4000,
        "request": {"method": "POST", "url": "https://api.example.com/v1/x", "postData": {"text": json.dumps(body)}},
        "response": {"status": 200, "content": {"text": answer, **content}},
    }


STREAM = (
    "event: message_start\n"
    'data: {"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":60,'
    '"cache_creation_input_tokens":7,"output_tokens":1}}}\n\n'
    'data: {"type":"content_block_delta","delta":{"text":"usage"}}\n\n'
    'data: {"type":"message_delta","usage":{"output_tokens":9}}\n\n'
)
LANGCHAIN = [[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "HumanMessage"], "kwargs": {"content": "Hi"}}]]
OTLP = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "name": "chat",
                            "startTimeUnixNano": "1767261600000000000",
                            "endTimeUnixNano": "1767261602000000000",
                            "attributes": [
                                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                                {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
                                {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(PARTS)}},
                                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "90"}},
                                {"key": "gen_ai.usage.cache_read.input_tokens", "value": {"intValue": "64"}},
                            ],
                        },
                        {
                            "name": "execute_tool",
                            "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "x"}}],
                        },
                    ]
                }
            ]
        }
    ]
}
SPEND = {
    "proxy_server_request": json.dumps(CHAT),
    "messages": "{}",
    "startTime": "2026-01-01 10:00:00.000",
    "completionStartTime": "2026-01-01 10:00:04.000",
    "metadata": json.dumps({"usage_object": CHAT_USAGE}),
    "model_id": "east",
}
INVOCATION = {
    "timestamp": "2026-01-01T10:00:00Z",
    "modelId": "arn:aws:bedrock:x:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "input": {"inputBodyJson": {"anthropic_version": "x", "system": SYSTEM, "messages": TURNS}},
    "output": {"outputBodyJson": {"usage": CLAUDE_USAGE}},
}
CONVERSE = {
    "model": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "request": {
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}},
                {"cachePoint": {"type": "default"}},
            ]
        },
        "system": [{"text": SYSTEM}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "five"}]}}]},
        ],
    },
    "response": {"usage": {"inputTokens": 3, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 7}},
}
GEMINI = {
    "ts": 1767261600,
    "model": "gemini-2.5-pro",
    "request": {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "x"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 5}}}]},
        ],
    },
    "response": {"usageMetadata": {"promptTokenCount": 90, "cachedContentTokenCount": 64}},
}
GENERATION = {
    "startTime": "2026-01-01T10:00:00Z",
    "completionStartTime": "2026-01-01T10:00:04Z",
    "model": "gpt-4o",
    "input": CHAT["messages"],
    "usageDetails": {"input": 26, "input_cached_tokens": 64, "output": 3},
}
RUN = {
    "run_type": "llm",
    "start_time": "2026-01-01T10:00:00",
    "inputs": {"messages": LANGCHAIN},
    "extra": {"invocation_params": {"model": "gpt-4o"}},
    "outputs": {
        "generations": [
            [{"message": {"kwargs": {"usage_metadata": {"input_tokens": 90, "input_token_details": {"cache_read": 64}}}}}]
        ]
    },
}
INSPECT = {
    "version": 2,
    "eval": {"model": "openai/gpt-4o"},
    "samples": [
        {
            "events": [
                {"event": "sample_init"},
                {
                    "event": "model",
                    "model": "openai/gpt-4o",
                    "timestamp": "2026-01-01T10:00:00Z",
                    "input": TURNS,
                    "output": {"usage": {"input_tokens": 90, "input_tokens_cache_read": 64}},
                },
            ]
        }
    ],
}
OPENAI = ReportedUsage(90, 64)
ANTHROPIC = ReportedUsage(70, 60, 7)

ONE_REQUEST: dict[str, tuple[Any, str, str, ReportedUsage | None]] = {
    "envelope of an envelope": (
        {"request": {"timestamp": 1767261600, "body": CLAUDE}, "response": {"body": {"usage": CLAUDE_USAGE}}},
        "Anthropic messages",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "arguments of a call": (
        {"kwargs": CHAT, "response": {"usage": CHAT_USAGE}},
        "OpenAI chat completions",
        "gpt-4o",
        OPENAI,
    ),
    "Helicone": (
        {"request_created_at": "2026-01-01T10:00:00Z", "request_body": CLAUDE, "response_body": {"usage": CLAUDE_USAGE}},
        "Anthropic messages",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "HAR": (har(CHAT, json.dumps({"usage": CHAT_USAGE})), "HAR", "gpt-4o", OPENAI),
    "HAR with a stream": (
        {"log": {"entries": [har(CLAUDE, STREAM), {"startedDateTime": "x", "request": {"method": "GET"}}]}},
        "HAR",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "HAR in base64": (
        har(CLAUDE, base64.b64encode(STREAM.encode()).decode(), encoding="base64"),
        "HAR",
        "claude-sonnet-4-5",
        ANTHROPIC,
    ),
    "cassette": (
        {
            "interactions": [
                {
                    "request": {"uri": "https://x/v1/y", "method": "POST", "body": json.dumps(CHAT)},
                    "response": {
                        "headers": {"Date": ["Thu, 01 Jan 2026 10:00:00 GMT"]},
                        "body": {"string": json.dumps({"usage": CHAT_USAGE})},
                    },
                },
                {"request": {"uri": "https://x/models", "method": "GET", "body": None}, "response": {}},
            ]
        },
        "HTTP cassette",
        "gpt-4o",
        OPENAI,
    ),
    "LiteLLM": (SPEND, "LiteLLM spend logs", "gpt-4o", OPENAI),
    "Bedrock's own log": (
        INVOCATION,
        "Bedrock invocation log",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ANTHROPIC,
    ),
    "Converse": (CONVERSE, "Bedrock Converse", "anthropic.claude-sonnet-4-5-20250929-v1:0", ANTHROPIC),
    "Gemini": (GEMINI, "Gemini generateContent", "gemini-2.5-pro", OPENAI),
    "Langfuse event": ({"type": "generation-create", "body": GENERATION}, "Langfuse", "gpt-4o", OPENAI),
    "Langfuse row": ({"type": "GENERATION", "traceId": "t", **GENERATION}, "Langfuse", "gpt-4o", OPENAI),
    "Langfuse trace": (
        {"observations": [{"type": "SPAN"}, {"type": "GENERATION", **GENERATION}]},
        "Langfuse",
        "gpt-4o",
        OPENAI,
    ),
    "LangSmith": (RUN, "LangSmith runs", "gpt-4o", OPENAI),
    "OTLP": (OTLP, "OpenTelemetry GenAI spans", "gpt-4o", OPENAI),
    "inspect": (INSPECT, "inspect log", "openai/gpt-4o", OPENAI),
    "SWE-agent": ({"trajectory": [], "info": {}, "history": TURNS[:2]}, "SWE-agent trajectory", "", None),
    "promptfoo": (
        {
            "evalId": "e",
            "results": {
                "results": [
                    {"prompt": {"raw": json.dumps(TURNS)}, "provider": {"id": "openai:gpt-4o"}, "response": {}},
                    {"prompt": {"raw": "again"}, "provider": {"id": "x"}, "response": {"cached": True}},
                ]
            },
        },
        "promptfoo results",
        "gpt-4o",
        None,
    ),
}


@pytest.mark.parametrize("name", ONE_REQUEST)
@pytest.mark.parametrize("indent", [None, 2], ids=["a line", "pretty"])
def test_a_record_of_every_kind(name: str, indent: int | None) -> None:
    record, kind, model, usage = ONE_REQUEST[name]
    log = (json.dumps(record, indent=indent) + "\n").splitlines(keepends=True)
    reading, requests = read(log)
    assert reading.broken == []
    assert [(request.kind, request.model, request.usage) for request in requests] == [(kind, model, usage)]
    assert "messages" not in "".join(texts(requests[0]))
    if kind not in ("OpenAI chat completions", "SWE-agent trajectory", "promptfoo results", "Bedrock Converse"):
        assert requests[0].time == 1767261600


@pytest.mark.parametrize("name", ["HAR", "LiteLLM", "Langfuse row"])
def test_the_first_token_is_timed(name: str) -> None:
    assert read(lines(ONE_REQUEST[name][0]))[1][0].first_token == 4.0


def test_records_without_a_request_are_counted() -> None:
    reading, requests = read(lines({"run_type": "chain", "inputs": {}}, RUN, {"type": "SPAN", "traceId": "t"}))
    assert len(requests) == 1
    assert {kind: (read.requests, read.without) for kind, read in reading.kinds.items()} == {
        "LangSmith runs": (1, 1),
        "Langfuse": (0, 1),
    }


def test_converse_keeps_its_marks_calls_and_results() -> None:
    (request,) = read(lines(CONVERSE))[1]
    assert [(piece.section, piece.kind, piece.mark) for piece in request.pieces] == [
        ("tools", "tool", 300),
        ("system", "text", 3600),
        ("message", "text", None),
        ("message", "tool_use", None),
        ("message", "tool_result", None),
    ]
    assert request.pieces[4].text == "t\nfive"
    assert request.marked_only


def test_gemini_parts() -> None:
    (request,) = read(lines(GEMINI))[1]
    kinds = ["tool", "tool", "text", "text", "image", "tool_use", "tool_result"]
    assert [piece.kind for piece in request.pieces] == kinds
    assert not request.marked_only


def test_batch_input_and_output_are_joined_in_any_order() -> None:
    asked = {"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    answered = {"custom_id": "r", "response": {"status_code": 200, "body": {"created": 1767261600, "usage": CHAT_USAGE}}}
    reading, (request,) = read(lines(answered, asked))
    assert (request.usage, request.time, request.batch) == (OPENAI, 1767261600, True)
    assert reading.broken == []
    answers = BatchAnswers()
    _, (request,) = read(lines(asked, answered), answers)
    assert request.usage is None
    assert answers.late
    _, (request,) = read(lines(asked, answered), answers)
    assert request.usage == OPENAI
    anthropic = {"custom_id": "r", "result": {"type": "succeeded", "message": {"usage": CLAUDE_USAGE}}}
    _, (request,) = read(lines(anthropic, {"custom_id": "r", "params": CLAUDE}))
    assert (request.usage, request.batch) == (ANTHROPIC, True)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"custom_id": "r", "response": {"body": {"usage": CHAT_USAGE}}}, "batch output"),
        ({"source": "agent", "action": "run", "args": {}}, "OpenHands"),
        ({"proxy_server_request": "{}", "messages": "{}"}, "store_prompts_in_spend_logs"),
        ({"name": "chat", "attributes": {"gen_ai.operation.name": "chat"}}, "CAPTURE_MESSAGE_CONTENT"),
        ({"run_type": "llm", "inputs": {}}, "HIDE_INPUTS"),
        ({"modelId": "m", "input": {"inputBodyS3Path": "s3://"}}, "inputBodyS3Path"),
        ({"type": "GENERATION", "traceId": "t", "input": None}, "not traced"),
        ({"trajectory": [], "info": {}}, "SWE-agent"),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "ShareGPT"),
        ({"instruction": "Sum up.", "input": "x", "output": "y"}, "Alpaca"),
        ({"conversation_a": [], "conversation_b": [], "winner": "a"}, "Chatbot Arena"),
        ({"conversation": TURNS, "model": "m"}, "LMSYS"),
        ({"prompt": "x", "chosen": "a", "rejected": "b"}, "preference"),
        ({"prompt": "x", "completion": "y"}, "completion"),
        ({"requesterUsername": "me", "requests": []}, "Copilot"),
        ({"sessionId": "s", "history": []}, "Continue"),
        ({"composerId": "s", "conversation": []}, "Cursor"),
        ({"info": {}, "messages": [{"info": {"role": "user"}, "parts": []}]}, "opencode"),
        ({"working_dir": "/x", "message_count": 2}, "Goose"),
        ({"info": {}, "data": {"spans": []}}, "mlflow.spanInputs"),
        ({"data": {"id": "gen-1", "native_tokens_prompt": 9}}, "OpenRouter"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(record: Any, reason: str) -> None:
    reading, requests = read(lines(record))
    assert requests == []
    assert reason in reading.broken[0][1]


def test_documents_of_several_lines() -> None:
    """A list, objects of several lines, a cut line, two files in one: each line counts, and each request is read."""
    pretty = json.dumps(CHAT, indent=2)
    log = [
        "[\n",
        json.dumps(CHAT) + ",\n",
        *(pretty + ",\n").splitlines(keepends=True),
        "]\n",
        '{"model": "gpt-4o", "messages": [{"role":\n',
        json.dumps(CHAT) + "\n",
        json.dumps(CHAT)[:50] + "\n",
        "[" + json.dumps(CHAT) + ", " + json.dumps(CHAT) + "]\n",
        '{"open": [\n',
    ]
    reading, requests = read(log)
    assert len(requests) == 5
    assert [line for line, _ in reading.broken] == [len(log) - 4, len(log) - 2, len(log)]
    assert reading.lines == len(log)
    assert requests[1].line == 3


def test_a_cassette_in_yaml() -> None:
    cassette = (
        "interactions:\n"
        "- request:\n"
        f"    body: '{json.dumps(CHAT)}'\n"
        "    method: POST\n"
        "    uri: https://api.example.com/v1/chat/completions\n"
        "  response:\n"
        "    headers:\n"
        "      date:\n"
        "      - Thu, 01 Jan 2026 10:00:00 GMT\n"
        f"    body:\n      string: '{json.dumps({'usage': CHAT_USAGE})}'\n"
        "- request:\n"
        "    body: null\n"
        "    method: GET\n"
        "    uri: https://api.example.com/v1/models\n"
        "  response:\n    status: {code: 200}\n"
        "version: 1\n"
    ).splitlines(keepends=True)
    reading, (request,) = read(cassette)
    assert (request.usage, request.time, request.line) == (OPENAI, 1767261600, 2)
    assert (reading.lines, reading.kinds["HTTP cassette"].without) == (len(cassette), 1)
