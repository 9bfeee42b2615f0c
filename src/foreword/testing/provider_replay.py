"""What a provider reads from its cache, found from the bodies alone and without any part of the auditor, to check it by.

Slow and short: prefixes are compared as text, four characters are a token, an image is 1,024. Only what a log of a few dozen
requests needs is here: requests come after each other, and the longest pause ends no entry but by the TTL of five minutes.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

MINIMUM, LOOK_BACK, TTL, STEP, IMAGE = 1_024, 20, 300.0, 128, 1_024
SETTINGS = ("thinking", "tool_choice", "speed")

Body = dict[str, Any]


@dataclass(frozen=True)
class Read:
    """Tokens of a prompt, and how many of them came from the cache."""

    prompt: int
    cached: int


class AnthropicReplay:
    """Entries end at marked blocks; a mark finds an entry that ends at most 20 blocks before it."""

    def __init__(self) -> None:
        self._entries: dict[str, float] = {}

    def read(self, at: float, body: Body, where: str = "") -> Read:
        """Send a request at a time in seconds; ``where`` names the deployment that answers."""
        prefix, ends, marks, total = f"{where}|{body['model']}|", [], [], 0
        for text, tokens, marked in _blocks(body):
            prefix, total = sha256(f"{prefix}{text}".encode()).hexdigest(), total + tokens
            ends.append((prefix, total))
            if marked and total >= MINIMUM:
                marks.append(len(ends) - 1)
        cached = 0
        for mark in marks:
            for key, tokens in ends[max(0, mark - LOOK_BACK + 1) : mark + 1]:
                if self._entries.get(key, -1.0) >= at:
                    cached = max(cached, tokens)
        self._entries |= {ends[mark][0]: at + TTL for mark in marks}
        return Read(total, cached)


class OpenAIReplay:
    """Any prompt that begins like an earlier one reads what they share, in steps of 128 tokens."""

    def __init__(self) -> None:
        self._earlier: list[str] = []

    def read(self, at: float, body: Body, where: str = "") -> Read:  # noqa: ARG002 (nothing expires here)
        """Send a request."""
        prompt = json.dumps([where, body["model"], body["tools"], body["messages"]])
        shared = max((_alike(prompt, one) for one in self._earlier), default=0) // 4
        self._earlier.append(prompt)
        return Read(len(prompt) // 4, shared - shared % STEP if shared >= MINIMUM else 0)


def _alike(one: str, two: str) -> int:
    """Characters with which both begin."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == two[:middle] else (low, middle - 1)
    return low


def _blocks(body: Body) -> list[tuple[str, int, bool]]:
    """(text, tokens, marked) of every block in the order in which the provider reads them."""
    rows: list[Any] = [tool for tool in body.get("tools", ()) if not tool.get("defer_loading")]
    rows += body.get("system", ())
    found = [_block("", row) for row in rows]
    settings = {key: body[key] for key in SETTINGS if key in body}
    if settings:
        found.append((json.dumps(settings), 0, False))
    return found + [_block(message["role"], row) for message in body["messages"] for row in message["content"]]


def _block(role: str, row: Body) -> tuple[str, int, bool]:
    said = {key: value for key, value in row.items() if key not in ("cache_control", "type")}
    plain = row.get("type") in ("text", "tool_result")
    text = "\n".join(said.values()) if plain else json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    tokens = IMAGE if row.get("type") == "image" else len(text.encode()) // 4 + 1
    return role + text, tokens, "cache_control" in row
