"""Whether a conversation goes on: a field, an option and a header say it, in both dialects, and all say the same."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from foreword.cache import ConversationState
from foreword.errors import ParameterError
from foreword.prompt import PromptBuilder
from foreword.sampling_params import SamplingParams
from foreword.server.anthropic import messages
from foreword.server.anthropic.schema import MessagesBody
from foreword.server.http import Caller, conversation_said
from foreword.server.openai import chat
from foreword.server.openai.schema import ChatBody
from foreword.serving.neutral import NeutralRequest
from server.live import Live

BODY: dict[str, Any] = {"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "quick brown fox"}]}
WHO = Caller("public", "0" * 32)
SAYS = {"conversation": "ended"}
PATHS = ("/v1/chat/completions", "/v1/messages")


def openai_request(who: Caller, **more: Any) -> NeutralRequest:
    return chat.neutral_request(ChatBody.model_validate({**BODY, **more}), who, SamplingParams())


def anthropic_request(who: Caller, **more: Any) -> NeutralRequest:
    return messages.neutral_request(MessagesBody.model_validate({**BODY, **more}), who, SamplingParams())


@pytest.mark.parametrize(
    ("read", "more"),
    [
        (openai_request, {"cache_conversation": "ended"}),
        (openai_request, {"prompt_cache_options": SAYS}),
        (anthropic_request, {"cache_conversation": "ended"}),
        (anthropic_request, {"cache_control": {"type": "ephemeral", **SAYS}}),
    ],
)
def test_a_field_and_an_option_say_it(read: Callable[..., NeutralRequest], more: dict[str, Any]) -> None:
    assert read(WHO, **more).cache.conversation is ConversationState.ENDED
    assert read(WHO).cache.conversation is None


def test_a_prompt_that_was_built_says_it_in_a_field() -> None:
    builder = PromptBuilder()
    builder.turn("question", "quick brown fox")
    built = builder.build()
    chats = ChatBody.model_validate(built.openai("tiny", cache_conversation="ended"))
    assert chat.neutral_request(chats, WHO, SamplingParams()).cache.conversation is ConversationState.ENDED
    said = MessagesBody.model_validate(built.anthropic("tiny", 2, cache_control={"type": "ephemeral", **SAYS}))
    assert messages.neutral_request(said, WHO, SamplingParams()).cache.conversation is ConversationState.ENDED


def test_a_mark_that_says_it_marks_nothing() -> None:
    plain, says = ({"type": "ephemeral", **more} for more in ({}, SAYS))
    counts = [len(anthropic_request(WHO, cache_control=control).prompt.marks) for control in (plain, says)]  # type: ignore[union-attr]
    assert counts == [1, 0]


@pytest.mark.parametrize("read", [openai_request, anthropic_request])
def test_the_header_says_it_too(read: Callable[..., NeutralRequest]) -> None:
    who = Caller("public", "0" * 32, ConversationState.GOES_ON)
    assert read(who).cache.conversation is ConversationState.GOES_ON
    assert read(who, cache_conversation="goes_on").cache.conversation is ConversationState.GOES_ON
    with pytest.raises(ParameterError, match="x-cache-conversation"):
        read(who, cache_conversation="ended")


def test_nothing_said_is_nothing() -> None:
    assert conversation_said(WHO, None, None) is None


def post(live: Live, path: str, said: str | None = None, **more: Any) -> httpx2.Response:
    headers = {} if said is None else {"x-cache-conversation": said}
    with live.client(headers=headers) as client:
        return client.post(path, json={**BODY, **more})


@pytest.mark.parametrize("path", PATHS)
def test_bad_words_are_refused_by_name(serve: Any, path: str) -> None:
    live = serve()
    refused = post(live, path, "perhaps")
    assert refused.status_code == 400
    assert "x-cache-conversation is 'perhaps'; it must be goes_on or ended" in refused.text
    refused = post(live, path, cache_conversation="perhaps")
    assert refused.status_code == 400
    assert "cache_conversation" in refused.text
    refused = post(live, path, "goes_on", cache_conversation="ended")
    assert refused.status_code == 400
    assert "goes_on and ended" in refused.text
    for said in ConversationState:
        assert post(live, path, said.value, cache_conversation=said.value).status_code == 200


def test_a_header_may_come_twice_but_says_one_thing(serve: Any) -> None:
    live = serve()

    def status(*said: str) -> int:
        with live.client(headers=[("x-cache-conversation", word) for word in said]) as client:
            answered: int = client.post(PATHS[0], json=BODY).status_code
        return answered

    assert status("ended", "ended") == 200
    assert status("ended", "goes_on") == 400
    assert status("ended", "perhaps") == 400


@pytest.mark.parametrize("path", PATHS)
def test_what_goes_on_is_kept_and_what_ends_is_not(serve: Any, path: str) -> None:
    live: Live = serve()

    def marked(said: str) -> int:
        # The same answer each time: another one would be another conversation, which goes on still.
        assert post(live, path, said, temperature=0).status_code == 200
        live.settle()
        return live.engine.usage().marked_blocks

    assert marked("goes_on") > 0
    assert marked("ended") == 0
