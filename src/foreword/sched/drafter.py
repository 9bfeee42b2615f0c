"""Drafters: what may come next in an answer. What they say is computed beside the next token, and kept where it is right."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from foreword.sched.request import Request


class Proposal(NamedTuple):
    """Tokens that may come next, in order. ``match``: how many tokens before them spoke for it; the more, the likelier."""

    tokens: Sequence[int]
    match: int = 1


class Draft(NamedTuple):
    """Tokens to be computed behind a request's last one before anybody knows that they come, and who proposed them."""

    drafter: str
    tokens: tuple[int, ...]


NOTHING = Proposal((), 0)


class Drafter(Protocol):
    """Proposes tokens for running requests. What it proposes may be wrong: an answer does not depend on it.

    name
        In accounts and metrics.
    """

    @property
    def name(self) -> str:
        """What its tokens are counted under."""
        ...

    def propose(self, request: Request, most: int) -> Proposal:
        """What may follow the known tokens of a running request, at most so many tokens. It takes microseconds."""
        ...

    def ended(self, request: Request) -> None:
        """Nobody asks for this request any more."""
        ...
