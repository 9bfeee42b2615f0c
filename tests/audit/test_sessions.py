"""Sessions of coding agents: a file holds a conversation, of which the requests are rebuilt."""

import json
from typing import Any

from audit.test_kinds import OPENAI, SYSTEM, lines, read, texts
from foreword.audit.request import ReportedUsage


def claude_line(uuid: str, parent: str | None, message: dict[str, Any], second: int, **more: Any) -> dict[str, Any]:
    kind = "assistant" if message["role"] == "assistant" else "user"
    time = f"2026-01-01T10:00:{second:02d}Z"
    return {
        "parentUuid": parent,
        "sessionId": "s",
        "type": kind,
        "uuid": uuid,
        "timestamp": time,
        "message": message,
        **more,
    }


def said(answer: str, block: dict[str, Any], read_tokens: int) -> dict[str, Any]:
    usage = {"input_tokens": 4, "cache_read_input_tokens": read_tokens, "cache_creation_input_tokens": 100}
    return {"role": "assistant", "id": answer, "model": "claude-sonnet-4-5", "usage": usage, "content": [block]}


def result(call: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": f"result of {call}"}]}


def call(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "Read", "input": {}}


def test_claude_code_has_one_request_for_each_answer() -> None:
    """Two calls at once lie on branches; the last line's usage counts; an error's message is no request."""
    log = lines(
        {"type": "file-history-snapshot", "messageId": "x", "snapshot": {}},
        claude_line("u0", None, {"role": "user", "content": "Read both"}, 0),
        claude_line("u1", "u0", said("m0", {"type": "text", "text": "I read."}, 1), 2),
        claude_line("u2", "u1", said("m0", call("a"), 1), 3),
        claude_line("u3", "u2", said("m0", call("b"), 7), 3),
        claude_line("u4", "u2", result("a"), 4),
        claude_line("u5", "u3", result("b"), 5),
        claude_line("u6", "u5", {**said("e", {"type": "text", "text": "error"}, 0), "model": "<synthetic>"}, 6),
        claude_line("u7", "u5", said("m1", {"type": "text", "text": "Done."}, 120), 8),
    )
    reading, requests = read(log)
    assert [request.usage for request in requests] == [ReportedUsage(111, 7, 100), ReportedUsage(224, 120, 100)]
    assert [(request.time, request.first_token) for request in requests] == [(1767261600, 2), (1767261605, 3)]
    assert texts(requests[0]) == ["Read both"]
    assert texts(requests[1])[1] == "I read."
    assert texts(requests[1])[-2:] == ["a\nresult of a", "b\nresult of b"]
    assert requests[1].pieces[-1].mark == 300
    assert reading.kinds["Claude Code session"].requests == 2


def test_a_compacted_claude_session_begins_anew() -> None:
    log = lines(
        claude_line("u0", None, {"role": "user", "content": "long"}, 0),
        claude_line("u1", "u0", said("m0", {"type": "text", "text": "yes"}, 0), 1),
        {"type": "system", "uuid": "c", "parentUuid": None, "logicalParentUuid": "u1", "subtype": "compact_boundary"},
        claude_line("u2", "c", {"role": "user", "content": "summary"}, 2),
        claude_line("u3", "u2", said("m1", {"type": "text", "text": "go on"}, 0), 3),
    )
    assert [texts(request) for request in read(log)[1]] == [["long"], ["summary"]]


def codex(second: int, kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-01-01T10:00:{second:02d}Z", "type": kind, "payload": payload}


def counted(second: int, prompt: int, cached: int, total: int) -> dict[str, Any]:
    usage = {"input_tokens": prompt, "cached_input_tokens": cached}
    return codex(
        second, "event_msg", type="token_count", info={"last_token_usage": usage, "total_token_usage": {"n": total}}
    )


def test_codex_rollout() -> None:
    """A call's output may be written before the count of the answer that made the call; a count may be told twice."""
    log = lines(
        codex(0, "session_meta", base_instructions={"text": SYSTEM}),
        codex(1, "turn_context", model="gpt-5.3-codex"),
        codex(2, "response_item", type="message", role="user", content=[{"type": "input_text", "text": "List."}]),
        codex(4, "response_item", type="reasoning", summary=[]),
        codex(5, "response_item", type="function_call", name="shell", arguments="{}", call_id="c"),
        codex(6, "response_item", type="function_call_output", call_id="c", output="a.py"),
        counted(6, 3000, 0, 1),
        counted(7, 3000, 0, 1),
        codex(8, "response_item", type="message", role="assistant", content=[{"type": "output_text", "text": "One."}]),
        counted(9, 3400, 2944, 2),
        codex(10, "compacted", message="short", replacement_history=None),
        codex(11, "response_item", type="message", role="user", content=[{"type": "input_text", "text": "More."}]),
        codex(12, "response_item", type="message", role="assistant", content=[{"type": "output_text", "text": "No."}]),
    )
    _, requests = read(log)
    assert [(request.model, request.usage) for request in requests] == [
        ("gpt-5.3-codex", ReportedUsage(3000, 0)),
        ("gpt-5.3-codex", ReportedUsage(3400, 2944)),
        ("gpt-5.3-codex", None),
    ]
    assert [len(request.pieces) for request in requests] == [2, 5, 3]
    assert (requests[0].time, requests[0].first_token) == (1767261602, 2)
    assert texts(requests[2])[1:] == ["short", "More."]


def test_gemini_cli_session() -> None:
    answer = {
        "type": "gemini",
        "timestamp": "2026-01-01T10:00:04Z",
        "model": "gemini-2.5-pro",
        "tokens": {"input": 90, "cached": 64},
    }
    session = {
        "sessionId": "s",
        "projectHash": "p",
        "messages": [
            {"type": "user", "content": "Hi", "timestamp": "2026-01-01T10:00:00Z"},
            {
                **answer,
                "content": "",
                "toolCalls": [{"id": "c", "name": "f", "args": {}, "result": [{"functionResponse": {"name": "f"}}]}],
            },
            {**answer, "content": "Done."},
        ],
    }
    _, requests = read(lines(session))
    assert [request.usage for request in requests] == [OPENAI, OPENAI]
    assert [[piece.kind for piece in request.pieces] for request in requests] == [
        ["text"],
        ["text", "tool_use", "tool_result"],
    ]
    assert requests[0].first_token == 4


def test_a_list_of_messages_is_a_conversation() -> None:
    calls = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": [call("a")]},
        result("a"),
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
    ]
    log = [*lines(calls), *json.dumps(calls, indent=1).splitlines(keepends=True)]
    reading, requests = read(log)
    assert [len(request.pieces) for request in requests] == [1, 3, 1, 3]
    assert requests[0].marked_only
    assert reading.broken == []
