"""Bodies that clients' libraries sent, as they sent them: each is taken, and its conversation can be read."""

import json
from pathlib import Path
from typing import Any

import pytest

from foreword.server.anthropic import errors as anthropic
from foreword.server.anthropic.conversation import conversation
from foreword.server.openai import errors as openai
from foreword.server.openai.requests import chat_conversation
from foreword.server.openai.schema import ChatBody

SENT: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "frameworks.json").read_text())


def _sent_to(*paths: str) -> list[Any]:
    found = [each for each in SENT if each["path"] in paths]
    assert found
    return [pytest.param(each, id=f"{each['client'].split()[0]}-{number}") for number, each in enumerate(found)]


@pytest.mark.parametrize("sent", _sent_to(*openai.BODIES))
def test_what_libraries_send_to_openais_endpoints_is_taken(sent: dict[str, Any]) -> None:
    openai.BODIES[sent["path"]].model_validate(sent["body"])


@pytest.mark.parametrize("sent", _sent_to("/v1/chat/completions"))
def test_every_message_of_a_chat_is_read(sent: dict[str, Any]) -> None:
    body = ChatBody.model_validate(sent["body"])
    assert len(chat_conversation(body).messages) == len(sent["body"]["messages"])


@pytest.mark.parametrize("sent", _sent_to(*anthropic.BODIES))
def test_what_libraries_send_to_anthropics_endpoints_is_taken(sent: dict[str, Any]) -> None:
    prompt = conversation(anthropic.BODIES[sent["path"]].model_validate(sent["body"]))
    assert prompt.go_on == (sent["body"]["messages"][-1]["role"] == "assistant")
