"""What comes back of a request: what is new, each once, whatever the pace of its reader."""

import asyncio
import re
from typing import Any

import pytest

from foreword.cache import Mark
from foreword.engine.request import EngineRequest
from foreword.errors import StepFailed, TimedOut
from foreword.outputs import ChoiceDelta, Delta, Logprob
from foreword.serving.neutral import Answer, Changed, Diagnosis, Update, UsableTools
from foreword.serving.rendering import RenderedPrompt
from foreword.serving.stream import OpenRequest, UpdateStream
from foreword.serving.tool_forms.base import CallBegin, CallEnd, CallText, Schemas, ToolUse
from foreword.serving.tool_forms.reader import AnswerForm, AnswerReader
from foreword.tokens import pack_tokens
from serving.fake_front import FakeFront, FakeStream, neutral

CALL = '<tool_call>{"name": "web", "arguments": {"q": 1}}</tool_call>'


def opened(
    front: FakeFront, n: int = 1, marks: tuple[Mark, ...] = (), timeout: float = 5.0, **more: Any
) -> tuple[UpdateStream, FakeStream]:
    """A stream of a prompt of four tokens, and the end that the test holds."""
    request = neutral(n=n, **more)
    prompt = RenderedPrompt(pack_tokens([1, 2, 3, 4]), None, marks)
    one = OpenRequest(request, prompt, front.now(), timeout, uses_cache=True)
    stream = FakeStream(front, EngineRequest(prompt.tokens, request.sampling, "r"), lambda _: None)
    schemas: Schemas = {name: {} for name in request.tools.names}
    updates = UpdateStream(
        one,
        stream,
        front.now,
        lambda _, usage: Diagnosis(Changed.TOOLS, lost_tokens=usage.reused),
        lambda: AnswerReader(AnswerForm(), schemas, request.tools.parallel),
    )
    return updates, stream


async def all_of(updates: UpdateStream) -> list[Update]:
    return [update async for update in updates]


def test_each_update_has_what_is_new_and_the_last_ends_the_stream() -> None:
    async def main() -> list[Update]:
        updates, told = opened(FakeFront())
        told.tell("a")
        told.tell("b")
        told.tell("", finish="stop", stop_reason="END")
        return await all_of(updates)

    got = asyncio.run(main())
    assert [update.choices[0].parts for update in got] == [("a",), ("b",), ()]
    assert [update.choices[0].token_ids for update in got] == [(1,), (2,), (3,)]
    assert [update.usage.output_tokens for update in got] == [1, 2, 3]
    assert [update.finished for update in got] == [False, False, True]
    assert (got[-1].choices[0].finish_reason, got[-1].choices[0].stop_reason) == ("stop", "END")


def test_the_first_update_alone_says_why_an_earlier_prompt_was_not_reused() -> None:
    async def main() -> list[Update]:
        updates, told = opened(FakeFront())
        told.cached = 3
        told.tell("a")
        told.tell("b", finish="stop")
        return await all_of(updates)

    assert [update.diagnosis for update in asyncio.run(main())] == [Diagnosis(Changed.TOOLS, lost_tokens=3), None]


def test_a_call_comes_as_it_is_written() -> None:
    async def main(whole: bool) -> list[Update] | Answer:
        updates, told = opened(FakeFront(), tools=UsableTools(frozenset({"web"})))
        for letter in f"I look.{CALL}":
            told.tell(letter)
        told.tell("", finish="stop")
        return await (updates.last() if whole else all_of(updates))

    got = asyncio.run(main(False))
    assert isinstance(got, list)
    parts = [part for update in got for part in update.choices[0].parts]
    assert "".join(part for part in parts if isinstance(part, str)) == "I look."
    begin = next(part for part in parts if isinstance(part, CallBegin))
    assert begin == CallBegin("web", begin.call_id)
    assert re.fullmatch("[a-zA-Z0-9]{9}", begin.call_id or "")
    pieces = [part.text for part in parts if isinstance(part, CallText)]
    assert len(pieces) > 2
    assert "".join(pieces) == '{"q": 1}'
    assert parts[-1] == CallEnd()
    assert got[-1].choices[0].calls == 1, "also where the call itself came before"
    answer = asyncio.run(main(True))
    assert isinstance(answer, Answer)
    (choice,) = answer.choices
    assert (choice.text, choice.calls) == ("I look.", 1)
    assert choice.tool_uses == [ToolUse("web", '{"q": 1}', begin.call_id)], "the same id each time"
    assert choice.token_ids == tuple(range(1, len(CALL) + 9))


def test_continuations_are_read_apart() -> None:
    async def main() -> Answer:
        updates, told = opened(FakeFront(), n=2, tools=UsableTools(frozenset({"web"})))
        told.tell("<tool_", index=0)
        told.tell("x", index=1)
        told.tell("call", index=0, finish="length", last=False)
        told.tell("y", index=1, finish="stop")
        return await updates.last()

    answer = asyncio.run(main())
    assert [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices] == [
        (0, "<tool_call", "length"),
        (1, "xy", "stop"),
    ]
    assert answer.usage.output_tokens == 4


def test_log_probabilities_stand_with_their_tokens() -> None:
    async def main() -> Answer:
        updates, told = opened(FakeFront())
        told.tell("a", logprobs=({1: Logprob(-1.0, 1, "a")},))
        told.tell("b", finish="stop", logprobs=({2: Logprob(-2.0, 1, "b")},))
        return await updates.last()

    (choice,) = asyncio.run(main()).choices
    assert choice.logprobs is not None
    assert [list(entry) for entry in choice.logprobs] == [[1], [2]]


def test_what_marks_cover_is_counted_once_for_the_first_mark_behind_it() -> None:
    async def main() -> Update:
        updates, told = opened(FakeFront(), marks=(Mark(4, 300.0), Mark(2, 3600.0)))
        told.cached = 1
        told.tell("a", finish="stop")
        return await anext(updates)

    usage = asyncio.run(main()).usage
    assert (usage.written, usage.written_by_ttl) == (3, {3600.0: 1, 300.0: 2})


def test_an_error_is_raised_where_the_reader_is() -> None:
    async def main() -> None:
        updates, told = opened(FakeFront())
        told.tell("a")
        told.fail(StepFailed("planted"))
        assert (await anext(updates)).choices[0].text == "a"
        with pytest.raises(StepFailed, match="planted"):
            await anext(updates)

    asyncio.run(main())


def test_a_request_that_takes_too_long_is_aborted() -> None:
    async def main() -> None:
        updates, told = opened(FakeFront(), timeout=0.01)
        with pytest.raises(TimedOut, match="longer than this server allows"):
            await anext(updates)
        assert told.closed

    asyncio.run(main())


def test_tokens_of_thoughts_are_counted_where_the_text_of_a_token_says_so() -> None:
    async def main(pieces: list[str], whole: bool) -> int:
        updates, told = opened(FakeFront())
        text, ends = "", []
        for piece in pieces:
            text += piece
            ends.append(len(text))
        if whole:
            choice = ChoiceDelta(0, text, tuple(range(len(pieces) + 1)), finish_reason="stop", text_ends=tuple(ends))
            told.told.append(Delta("r", (choice,), told.account, told.metrics, True))
        else:
            for piece, end in zip(pieces, ends, strict=True):
                told.tell(piece, text_ends=(end,))
            told.tell("", finish="stop")
        return (await updates.last()).usage.reasoning_tokens

    for pieces, thought in [
        (["<think>", "\n", "hm", "</th", "ink>", "\n\n", "So"], 5),
        (["<think", ">a</think>b", "c"], 2),
        (["So", " <think>"], 0),
        (["", "<think>", "", "x", ""], 4),
    ]:
        assert [asyncio.run(main(pieces, whole)) for whole in (True, False)] == [thought, thought], pieces
