"""Tokens and the places of pieces in them, with and without the model's own tokenizer and template."""

import random

import pytest

from audit.generator import encoded, planted
from foreword.audit import ByteTokens, PieceTokens, TemplateTokens, audit
from foreword.audit.auditor import Lines
from foreword.audit.case import part
from foreword.audit.readers import read_record
from foreword.audit.request import LoggedPiece, LoggedRequest
from foreword.audit.tokens import MEDIA_TOKENS, as_messages
from foreword.prompt.chat import Message, ToolCall, text_blocks
from foreword.prompt.prices import PriceTable
from prompt.families import FAMILIES, template

TALK = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "You are a clerk."},
        {"role": "user", "content": [{"type": "text", "text": "Hello."}, {"type": "text", "text": "Is it open?"}]},
        {"role": "assistant", "content": "Let me look."},
        {"role": "user", "content": "Do."},
    ],
}


def test_four_bytes_are_a_token_and_each_piece_has_a_head() -> None:
    tokens = ByteTokens().encode(read_record(TALK, 1))
    assert tokens.ends == (5, 8, 12, 16, 18)
    assert len(tokens) == 18
    assert tokens.piece_at(0) == (0, 0)
    assert tokens.piece_at(5) == (1, 0)
    assert tokens.piece_at(17) == (4, 1)
    assert tokens.piece_at(99) == (4, 83)
    assert tokens.end_of(2) == 12


def test_media_count_as_a_fixed_number_of_tokens() -> None:
    piece = LoggedPiece("message", "image", "user", 0, 0, "image 12ab")
    assert len(ByteTokens().encode(LoggedRequest(1, "p", "m", (piece,)))) == MEDIA_TOKENS + 1


def test_lone_surrogates_are_text_like_any_other() -> None:
    piece = LoggedPiece("message", "text", "user", 0, 0, "a\ud800")
    assert len(ByteTokens().encode(LoggedRequest(1, "p", "m", (piece,)))) == 2


def test_a_text_is_tokenized_once() -> None:
    calls = []

    def encode(text: str) -> list[int]:
        calls.append(text)
        return list(text.encode())

    tokens = PieceTokens(encode)
    first, second = (tokens.encode(read_record(TALK, 1)) for _ in range(2))
    assert first == second
    assert len(calls) == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_end_where_the_template_puts_them(family: str) -> None:
    """A change in one piece parts the tokens within that piece, whatever the template writes around it."""
    chat = template(family)
    tokens, rng = TemplateTokens(chat), random.Random(0)
    request = read_record(TALK, 1)
    before = tokens.encode(request)
    assert list(before.ends) == sorted(before.ends)
    for i, piece in enumerate(request.pieces):
        word = f" {rng.randrange(10**6)} "
        half = len(piece.text) // 2
        changed = piece._replace(text=piece.text[:half] + word + piece.text[half:])
        after = tokens.encode(request.with_pieces((*request.pieces[:i], changed, *request.pieces[i + 1 :])))
        shared = next(n for n in range(len(after)) if after.packed[: 4 * n + 4] != before.packed[: 4 * n + 4])
        assert before.piece_at(shared)[0] == i, (family, piece.label)
    assert tokens.refused == 0


def test_calls_and_results_are_rendered_as_such() -> None:
    body = {
        "model": "m",
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    }
    tools, messages, places = as_messages(read_record(body, 1).pieces)
    assert tools[0]["function"] == {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2].tool_calls == (ToolCall("t", "f", {"city": "Rome"}),)
    assert places == [("tool", 0, 0), ("message", 0, 0), ("message", 1, 0), ("message", 2, 0), ("message", 3, 0)]


def test_a_result_and_a_text_of_one_message_are_rendered_apart() -> None:
    """Anthropic sends both in one message of the user; chat templates know a result only as a message of its own."""
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "hill"}}
    results = [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": text}]} for text in "ab"]
    body = {
        "model": "claude-opus-5",
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [{"type": "text", "text": "Yes."}, use]},
            {"role": "user", "content": [*results, {"type": "text", "text": "And now?"}]},
        ],
    }
    _, messages, places = as_messages(read_record(body, 1).pieces)
    said = [Message("tool", text_blocks(text), tool_call_id="t1", name="look") for text in "ab"]
    assert messages[2:] == [*said, Message("user", text_blocks("And now?"))]
    assert places[3:] == [("message", 2, 0), ("message", 3, 0), ("message", 4, 0)]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_prompts_part_at_the_first_token_that_differs(family: str) -> None:
    """Also where the template writes the tools behind the system text that differs."""
    tools = [
        {"type": "function", "function": {"name": f"f{i}", "description": "word " * 50, "parameters": {"type": "object"}}}
        for i in range(3)
    ]
    chat, asked = template(family), [{"role": "user", "content": "Hello."}]
    requests = [
        read_record({"model": "m", "messages": [{"role": "system", "content": f"It is {day}."}, *asked], "tools": tools}, 1)
        for day in ("Monday", "Tuesday")
    ]
    before, after = requests
    old, new = (TemplateTokens(chat).encode(request) for request in requests)
    seen = next(n for n in range(len(new)) if old.packed[: 4 * n + 4] != new.packed[: 4 * n + 4])
    parted = part(before, after, new, seen)
    assert parted is not None
    assert parted.new_piece.label == "system, block 1"
    assert parted.position == seen


def again(log: list[bytes]) -> Lines:
    """A log in memory, read as often as is asked for."""
    return lambda _purpose: log


@pytest.mark.parametrize("code", ["FW101", "FW202", "FW203", "FW302"])
def test_faults_are_found_with_a_real_template_too(code: str) -> None:
    plan = planted(code)
    for log, codes in ((encoded(plan.faulty), [code]), (encoded(plan.clean), [])):
        report = audit(again(log), TemplateTokens(template("qwen2_5")), PriceTable.built_in())
        assert [finding.code for finding in report.findings] == codes
        for finding in report.findings:
            assert finding.label == plan.label


def test_what_a_template_refuses_is_counted_piece_by_piece() -> None:
    """A template that wants the roles to take turns, and a log where they do not."""
    tokens = TemplateTokens(template("gemma"))
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
    encoded_pieces = tokens.encode(read_record(body, 1))
    assert tokens.refused == 1
    assert len(encoded_pieces.ends) == 2
