"""Aider's two histories, and Codex's early rollouts."""

import json

from audit.test_kinds import SYSTEM, lines, read, texts
from foreword.audit.request import ReportedUsage

SENT = f"""TO LLM 2026-01-01T10:00:00
-------
SYSTEM {SYSTEM}
SYSTEM Answer in diffs.
-------
USER Change a.py
and a line without its role
-------
ASSISTANT Ok.
-------
USER Now b.py
LLM RESPONSE 2026-01-01T10:00:04
ASSISTANT Done.
ASSISTANT Really.
TO LLM 2026-01-01T10:01:00
-------
USER Hello
LLM RESPONSE 2026-01-01T10:01:02
ASSISTANT Hi.
"""
CHAT = """
# aider chat started at 2026-01-01 10:00:00

> /usr/bin/aider --model x
> Model: claude-sonnet-4-5 with diff edit format

#### Change a.py
#### and test it

I change it.

```python
x = 1
```

> Tokens: 2.3k sent, 1,100 cache write, 1.2k cache hit, 120 received.
> Applied edit to a.py

#### Now b.py

Done.

# aider chat started at 2026-01-02 10:00:00

#### Hello

Hi.
"""
MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]}
CALL = {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "c0"}
RESULT = {"type": "function_call_output", "call_id": "c0", "output": "a.py"}
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "There is a.py."}]}
HEAD = {"id": "x", "timestamp": "2025-06-01T10:00:00Z", "instructions": SYSTEM}


def test_what_aider_sent() -> None:
    reading, requests = read(SENT.splitlines(keepends=True))
    assert reading.broken == []
    assert [(request.time, request.first_token) for request in requests] == [(1767261600, 4), (1767261660, 2)]
    assert texts(requests[0]) == [
        SYSTEM + "\nAnswer in diffs.",
        "Change a.py\nand a line without its role",
        "Ok.",
        "Now b.py",
    ]
    assert [request.line for request in requests] == [1, 15]
    assert {request.kind for request in requests} == {"aider history of requests"}


def test_an_aider_chat() -> None:
    reading, requests = read(CHAT.splitlines(keepends=True))
    assert reading.broken == []
    assert [texts(request)[0] for request in requests] == ["Change a.py\nand test it"] * 2 + ["Hello"]
    assert [len(request.pieces) for request in requests] == [1, 3, 1]
    assert "x = 1" in texts(requests[1])[1]
    assert requests[0].usage == ReportedUsage(2300, 1200, 1100)
    assert [request.model for request in requests] == ["claude-sonnet-4-5", "claude-sonnet-4-5", ""]
    assert reading.kinds["aider chat history"].requests == 3


def test_early_rollouts_of_codex() -> None:
    bare = lines(HEAD, {"record_type": "state"}, MESSAGE, CALL, RESULT, {"record_type": "state"}, ANSWER)
    whole = lines({"session": {"id": "x", "instructions": SYSTEM}, "items": [MESSAGE, CALL, RESULT, ANSWER]})
    for log in (bare, whole):
        reading, requests = read(log)
        assert reading.broken == []
        assert [len(request.pieces) for request in requests] == [2, 4]
        assert texts(requests[1])[:2] == [SYSTEM, "List the files."]
        assert {request.kind for request in requests} == {"early Codex rollout"}


def test_a_rollout_whose_answers_were_not_counted_still_has_its_requests() -> None:
    rows = [
        {"timestamp": "2026-01-01T10:00:00Z", "type": "session_meta", "payload": {"base_instructions": {"text": SYSTEM}}}
    ]
    rows += [
        {"timestamp": "2026-01-01T10:00:01Z", "type": "response_item", "payload": i} for i in (MESSAGE, CALL, RESULT, ANSWER)
    ]
    reading, requests = read(lines(*rows))
    assert [len(request.pieces) for request in requests] == [2, 4]
    assert reading.kinds["Codex rollout"].requests == 2


def test_other_lists_are_not_taken_for_early_rollouts() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    reading, requests = read([json.dumps(messages)])
    assert [request.kind for request in requests] == ["history of messages"]
    assert reading.broken == []
