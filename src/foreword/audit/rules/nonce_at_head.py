"""FW107."""

import re

from foreword.audit.case import Case, Parting, Sighting, sight_break
from foreword.audit.changing_values import ChangingValues
from foreword.audit.request import MEDIA, SETTINGS, TOOLS
from foreword.audit.rules.base import Fixer, Rule
from foreword.prompt.volatile import find_shapes

HEAD_CHARS = 200
BILLING_HEADER = "x-anthropic-billing-header"
MEANINGFUL = frozenset({"datetime", "date", "time", "epoch", "counter", "port"})
WORD = re.compile(r"[A-Za-z0-9+/_-]+")


class NonceAtHead(Rule):
    """A random value stands at the very head of the prompt, as some clients put it there by themselves.

    ## Why it costs

    Nothing at all is shared: the prompts part within their first words. It is easily overlooked, because the author of the
    prompt did not write it; billing headers, request ids and cache busters of client programs are known cases.

    ## Example

        x-client-header: version=2.1; id=c3f09
        ... the whole prompt, 12,000 tokens, the same each time ...

    ## Fix

    Turn the value off in the client, or strip it in the gateway before the request goes on; if it must stay, put it last.
    Claude Code's billing header (`x-anthropic-billing-header: cc_version=...; cch=...`) is turned off by the environment
    variable `CLAUDE_CODE_ATTRIBUTION_HEADER=0`.
    """

    code = "FW107"
    name = "nonce-at-head"

    def __init__(self) -> None:
        self._changing = ChangingValues()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.chars > HEAD_CHARS or parted.new_piece.kind in MEDIA:
            return None
        if parted.index != _first_text(case) or not (_is_billing_header(parted) or _random_at(parted)):
            return None
        return sight_break(case, parted) if self._changing.learn(parted, case.shared_behind()) else None

    def forget(self, place: str) -> None:
        self._changing.forget(place)

    def fixer(self) -> Fixer:
        return self._changing.moved_out


def _is_billing_header(parted: Parting) -> bool:
    return all(piece.text.startswith(BILLING_HEADER) for piece in (parted.old_piece, parted.new_piece))


def _first_text(case: Case) -> int:
    """The first piece that is no tool."""
    return next((i for i, piece in enumerate(case.request.pieces) if piece.section not in (TOOLS, SETTINGS)), -1)


def _random_at(parted: Parting) -> bool:
    """Whether two words without meaning stand where the texts part."""
    return all(_random(piece.text, parted.chars) for piece in (parted.old_piece, parted.new_piece))


def _random(text: str, at: int) -> bool:
    """Whether the word at a character means nothing: no date, no count, but digits or a random string."""
    start = max(0, at - HEAD_CHARS)
    if any(
        value.start <= at - start < value.end and value.kind in MEANINGFUL for value in find_shapes(text[start : at + 50])
    ):
        return False
    for word in WORD.finditer(text, start, at + HEAD_CHARS):
        if word.start() <= at <= word.end():
            letters = word.group()
            if "@" in text[max(0, word.start() - 1) : word.end() + 1]:  # an address of somebody
                return False
            return len(letters) >= 4 and any(sign.isdigit() for sign in letters)
    return False
