"""The Messages API over HTTP, with Anthropic's SDK: answers, streams, usage, warm-up, diagnostics, bad input."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, Usage

from foreword.engine.runner import Step
from server.live import Live

SYSTEM = "the lazy dog sleeps under the quick brown fox, and the fox jumps over it again and again. " * 4
MARK = {"type": "ephemeral"}


def user(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": text}]


def system(mark: dict[str, str] | None = MARK) -> list[Any]:
    return [{"type": "text", "text": SYSTEM, **({"cache_control": mark} if mark else {})}]


def ask(client: anthropic.Anthropic, **more: Any) -> anthropic.types.Message:
    """A greedy answer of four tokens, with changes."""
    body = {"model": "tiny", "max_tokens": 4, "messages": user("the quick brown fox"), "extra_body": {"temperature": 0}}
    return client.messages.create(**{**body, **more})  # type: ignore[no-any-return]


def text_of(message: anthropic.types.Message) -> str:
    """Of an answer that is nothing but text."""
    (block,) = message.content
    assert block.type == "text"
    return block.text


def counts(usage: Usage) -> tuple[int, int, int]:
    """Tokens read, written under a mark, and neither."""
    assert usage.cache_read_input_tokens is not None
    assert usage.cache_creation_input_tokens is not None
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens


def prompt_tokens(client: anthropic.Anthropic, **more: Any) -> int:
    body = {"model": "tiny", "messages": user("the quick brown fox"), **more}
    return client.messages.count_tokens(**body).input_tokens


def test_an_answer(client: anthropic.Anthropic) -> None:
    got = ask(client)
    assert (got.type, got.role, got.model, got.stop_reason) == ("message", "assistant", "tiny", "max_tokens")
    assert got.id.startswith("msg_")
    assert [block.type for block in got.content] == ["text"]
    assert got.usage.output_tokens == 4
    assert got._request_id is not None


def test_a_stream_says_the_same_as_an_answer(client: anthropic.Anthropic) -> None:
    whole = ask(client)
    with client.messages.stream(
        model="tiny", max_tokens=4, messages=user("the quick brown fox"), extra_body={"temperature": 0}
    ) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert text_of(streamed) == text_of(whole)
    assert (streamed.stop_reason, streamed.usage.output_tokens) == ("max_tokens", 4)
    assert sum(counts(streamed.usage)) == sum(counts(whole.usage))
    assert (kinds[0], kinds[1], kinds[-3:]) == (
        "message_start",
        "content_block_start",
        ["content_block_stop", "message_delta", "message_stop"],
    )


def test_a_stop_sequence(client: anthropic.Anthropic) -> None:
    text = text_of(ask(client, max_tokens=12))
    got = ask(client, max_tokens=12, stop_sequences=[text[4:7]])
    assert (got.stop_reason, got.stop_sequence) == ("stop_sequence", text[4:7])
    assert text_of(got) == text[: text.index(text[4:7])]


def test_the_context_may_end_an_answer(client: anthropic.Anthropic) -> None:
    got = ask(client, max_tokens=5000, messages=user("the quick brown fox " * 110))
    assert got.stop_reason in ("model_context_window_exceeded", "end_turn")


def test_tokens_are_counted_as_they_are_used(client: anthropic.Anthropic) -> None:
    assert prompt_tokens(client, system=system()) == sum(counts(ask(client, system=system()).usage))


def test_a_miss_a_hit_and_what_a_mark_changes(client: anthropic.Anthropic) -> None:
    total = prompt_tokens(client, system=system())
    first = ask(client, system=system()).usage
    read, written, rest = counts(first)
    assert (read, written + rest) == (0, total)
    assert 0 < rest < written
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_5m_input_tokens == written
    assert counts(ask(client, system=system()).usage) == (total - 1, 0, 1)
    other = ask(client, system=system(), messages=user("and now for something else")).usage
    assert counts(other)[0] >= written
    assert counts(other)[1] == 0


def test_a_hit_needs_no_mark(client: anthropic.Anthropic) -> None:
    total = prompt_tokens(client, system=system(None))
    assert counts(ask(client, system=system(None)).usage) == (0, 0, total)
    assert counts(ask(client, system=system(None)).usage) == (total - 1, 0, 1)


def test_each_ttl_counts_what_it_covers(client: anthropic.Anthropic) -> None:
    usage = ask(client, system=system({**MARK, "ttl": "1h"}), cache_control=MARK).usage
    total = prompt_tokens(client, system=system())
    assert usage.cache_creation is not None
    hour, five = usage.cache_creation.ephemeral_1h_input_tokens, usage.cache_creation.ephemeral_5m_input_tokens
    assert hour > five > 0
    assert counts(usage) == (0, hour + five, total - hour - five)


def test_the_usage_in_a_stream(client: anthropic.Anthropic) -> None:
    ask(client, system=system())
    asked: Any = {"model": "tiny", "max_tokens": 3, "messages": user("more"), "system": system()}
    with client.messages.stream(**asked, extra_body={"temperature": 0}) as stream:
        events = list(stream)
    first, last = events[0], events[-2]
    assert first.type == "message_start"
    assert last.type == "message_delta"
    start, end = first.message.usage, last.usage
    assert counts(start) == (end.cache_read_input_tokens, end.cache_creation_input_tokens, end.input_tokens)
    assert counts(start)[0] > 50
    assert end.output_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_max_tokens_0_warms(client: anthropic.Anthropic, stream: bool) -> None:
    if stream:
        with client.messages.stream(model="tiny", max_tokens=0, messages=user("the quick brown fox")) as events:
            warm: anthropic.types.Message = events.get_final_message()
    else:
        warm = ask(client, max_tokens=0)
    assert (warm.content, warm.stop_reason, warm.usage.output_tokens) == ([], "max_tokens", 0)
    total = sum(counts(warm.usage))
    assert counts(ask(client).usage) == (total - 1, 0, 1)


def test_diagnostics(client: anthropic.Anthropic) -> None:
    tools = [{"name": "jump", "input_schema": {"type": "object"}}]
    first = ask(client, system=system(), diagnostics={"previous_message_id": None})
    assert first.diagnostics is None
    chat = [*user("the quick brown fox"), {"role": "assistant", "content": "jumps"}, *user("over")]

    def reason(message_id: str = first.id, **more: Any) -> tuple[str | None, int | None]:
        got = ask(client, **{"messages": chat, "system": system(), **more}, diagnostics={"previous_message_id": message_id})
        if got.diagnostics is None or got.diagnostics.cache_miss_reason is None:
            return None, None
        why = got.diagnostics.cache_miss_reason
        return why.type, getattr(why, "cache_missed_input_tokens", None)

    assert reason() == (None, None)
    kind, missed = reason(system="the dog")
    assert missed is not None
    assert (kind, 0 < missed <= sum(counts(first.usage))) == ("system_changed", True), "no more than there was to be read"
    assert reason(messages=user("another question"))[0] == "messages_changed"
    assert reason(tools=tools)[0] == "tools_changed"
    assert reason(message_id="msg_unknown") == ("previous_message_not_found", None)


def test_marks_do_not_make_a_prompt_another(client: anthropic.Anthropic) -> None:
    first = ask(client, system=system())
    again = ask(client, system=system(None), diagnostics={"previous_message_id": first.id})
    assert again.diagnostics is None
    assert again.usage.input_tokens == 1


BLOCK = {"type": "text", "text": "x", "cache_control": MARK}
BAD = {
    "a role that nobody knows": {"messages": [{"role": "robot", "content": "x"}]},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
    "a wrong type": {"max_tokens": "many"},
    "an unknown field": {"max_token": 4},
    "five marks": {"messages": [{"role": "user", "content": [BLOCK] * 5}]},
    "1h behind 5m": {
        "messages": [{"role": "user", "content": [BLOCK, {**BLOCK, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}]
    },
    "a mark on an empty block": {"messages": [{"role": "user", "content": [{**BLOCK, "text": ""}]}]},
    "a TTL of its own": {
        "messages": [{"role": "user", "content": [{**BLOCK, "cache_control": {"type": "ephemeral", "ttl": "9h"}}]}]
    },
    "no message": {"messages": []},
    "a message that says nothing": {"messages": [{"role": "user", "content": []}]},
    "thoughts of another": {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}]},
    "a begun answer": {"messages": [*user("x"), {"role": "assistant", "content": "y"}]},
    "half a character": {"messages": user("\ud800")},
    "a prompt that never fits": {"messages": user("the quick brown fox " * 400)},
    "a tool that must be used": {"tool_choice": {"type": "any"}},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_bad_input_gets_the_vendors_error_and_the_next_request_works(live: Live, body: dict[str, Any], stream: bool) -> None:
    good = {"model": "tiny", "max_tokens": 1, "messages": user("x")}
    with live.client() as http:
        got = http.post("/v1/messages", content=json.dumps({**good, **body, "stream": stream}))
        assert got.status_code == 400, got.text
        error = got.json()
        assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
        assert len(error["error"]["message"]) > 10
        assert error["request_id"] == got.headers["request-id"]
        assert http.post("/v1/messages", json=good).status_code == 200


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[]", b'"x"', b'{"model": "\xff"}', b"\xff\xfe", b"nul", b'{"model": NaN}', b"[" * 100_000]
)
def test_what_is_no_json_is_refused(live: Live, content: bytes) -> None:
    with live.client() as http:
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            got = http.post(path, content=content, headers={"content-type": "application/json"})
            assert got.status_code == 400
            assert got.json()["error"]["type"] == "invalid_request_error"


def test_a_tool_runner_goes_on_without_a_thread(client: anthropic.Anthropic) -> None:
    @anthropic.beta_tool
    def look(place: str) -> str:
        """Looks."""
        return place

    body: Any = {"model": "tiny", "max_tokens": 4, "messages": user("the quick brown fox"), "tools": [look]}
    runner = client.beta.messages.tool_runner(**body, max_iterations=1)
    assert [message.role for message in runner] == ["assistant"]


def test_a_thread_is_refused_in_words_that_the_sdk_knows(client: anthropic.Anthropic) -> None:
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        with pytest.raises(anthropic.BadRequestError, match="send all messages with each request") as caught:
            ask(client, extra_body={"thread": thread})
        told: Any = caught.value.body
        assert told["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_an_answer_that_has_begun_is_gone_on_with(client: anthropic.Anthropic) -> None:
    begun: Any = [*user("the quick brown fox"), {"role": "assistant", "content": "jumps"}]
    asked, gone_on = prompt_tokens(client), prompt_tokens(client, messages=begun)
    assert asked < gone_on <= asked + len("jumps")
    got = ask(client, messages=begun)
    assert sum(counts(got.usage)) == gone_on


def test_errors_as_the_sdk_sees_them(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, model="huge")
    told: Any = missing.value.body
    assert told["error"]["type"] == "not_found_error"
    assert missing.value.request_id is not None
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        ask(client, max_tokens=-1)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="huge", messages=user("x"))
    ask(client)


def test_an_error_in_a_stream_is_its_last_event(live: Live, client: anthropic.Anthropic) -> None:
    steps = itertools.count(1)

    def fail_third(_: Step) -> None:
        if next(steps) == 3:
            raise RuntimeError("broken")

    with (
        live.before_steps(fail_third),
        pytest.raises(anthropic.APIStatusError) as error,
        client.messages.stream(
            model="tiny", max_tokens=8, messages=user("the quick brown fox"), extra_body={"temperature": 0}
        ) as stream,
    ):
        list(stream)
    told: Any = error.value.body
    assert told["error"]["type"] == "api_error"
    assert "RuntimeError" in str(error.value)
    ask(client)


def test_a_billing_header_is_not_in_the_prompt_and_the_explanation_says_so(live: Live) -> None:
    def ask(suffix: str) -> Any:
        header = f"x-anthropic-billing-header: cc_version=2.1.197.{suffix}; cc_entrypoint=sdk-cli;"
        system = [{"type": "text", "text": header}, {"type": "text", "text": "the quick brown fox " * 20}]
        body = {"model": "tiny", "max_tokens": 1, "system": system, "messages": [{"role": "user", "content": suffix}]}
        with live.client() as client:
            answer = client.post("/v1/messages", json=body)
            assert answer.status_code == 200
            counted = client.post("/v1/messages/count_tokens", json=_counted(body))
            usage = answer.json()["usage"]
            assert counted.json()["input_tokens"] == sum(
                usage[name] or 0 for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
            )
            live.settle()
            return usage, client.get(f"/v1/cache/explain/{answer.json()['id']}").json()

    first, _ = ask("84c")
    second, why = ask("bb9")
    assert first["cache_read_input_tokens"] == 0
    assert second["cache_read_input_tokens"] > 80
    assert "left out of the prompt: a billing header" in why["detail"]


def test_a_date_moves_where_the_operator_wants_it_and_the_explanation_says_so(serve: Callable[..., Live]) -> None:
    live = serve(client_heads="move")

    def ask(day: int) -> Any:
        system = "the quick brown fox " * 20 + f"\nToday's date: 2026-11-{day}\n" + "jumps over the lazy dog " * 20
        body = {"model": "tiny", "max_tokens": 1, "system": system, "messages": [{"role": "user", "content": "hi"}]}
        with live.client() as client:
            answer = client.post("/v1/messages", json=body).json()
            live.settle()
            return answer["usage"], client.get(f"/v1/cache/explain/{answer['id']}").json()

    ask(26)
    usage, why = ask(27)
    assert usage["cache_read_input_tokens"] > 160, "all of the system prompt"
    assert "moved from the system prompt into the first turn: a date" in why["detail"]


def _counted(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "max_tokens"}
