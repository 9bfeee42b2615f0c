"""FW302."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from foreword.audit.case import WORTH_TOKENS, Case, Sighting, sight_piece
from foreword.audit.provider_terms import FIVE_MINUTES
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule
from foreword.prompt.vendor_forms.anthropic import MAX_MARKS

READ, WRITE = 0.1, 1.25
"""What reading and writing cost where there is no price, as multiples of a plain token's: Anthropic's."""
PROMPTS_KEPT = 1_000
Boundary = tuple[str, int, int]
FROM_END = "end"
"""The section of a boundary that is counted in blocks from the end of the prompt; any other has a message and a block."""


@dataclass
class _Alike:
    """Prompts that begin with the same words. In plain tokens' prices: what misses cost at each place, and what reading all
    that could be read would cost; and the boundaries at which tokens were missed."""

    costs: Counter[str] = field(default_factory=Counter)
    readable: float = 0.0
    missed: Counter[Boundary] = field(default_factory=Counter)


class MarksMisplaced(Rule):
    """Marks stand behind text that changes, or too far behind, and none at the end of the part that stays the same.

    ## Why it costs

    A mark writes the prompt up to itself. If anything before it changes, the entry is never read: the write is paid (1.25
    times the plain price) and nothing comes back. An entry is looked for in the last 20 blocks before a mark only.

    ## Example

        system: [rules (4,000 tokens), today's state (changes) + mark]

    ## Fix

    Put a mark at the end of each part that changes less often than what follows: the tools, the fixed system text, the
    conversation so far. Long turns of more than 20 blocks need a mark on the way.
    """

    code = "FW302"
    name = "marks-misplaced"
    explains_break = False

    def __init__(self) -> None:
        self._alike: OrderedDict[int, _Alike] = OrderedDict()
        self._seen: set[str] = set()

    def examine(self, case: Case) -> Sighting | None:
        outcome = case.outcome
        if not case.request.marked_only or outcome.expired or outcome.in_flight:
            return None
        if not any(case.tokens.end_of(i) >= case.terms.minimum for i in case.request.marks()):
            return None
        index = next((i for i in reversed(case.tokens.order) if case.tokens.end_of(i) <= outcome.readable), None)
        if index is None or case.tokens.end_of(index) < case.terms.minimum:
            return None
        piece, end = case.request.pieces[index], case.tokens.end_of(index)
        missed = max(0, end - outcome.cached)
        alike = self._of(case.request)
        price = case.terms.price
        read, write = (READ, WRITE) if price is None else (price.read, price.write)
        alike.readable += end * read
        alike.costs[piece.place] += round(missed * (write - read))
        if missed < WORTH_TOKENS:
            return None
        self._seen.add(piece.place)
        alike.missed[piece.section, piece.message, piece.block] += missed
        alike.missed[FROM_END, len(case.request.pieces) - index, 0] += missed
        return sight_piece(case, index)

    def _of(self, request: LoggedRequest) -> _Alike:
        key = _beginning(request)
        alike = self._alike.pop(key, None) or _Alike()
        self._alike[key] = alike
        if len(self._alike) > PROMPTS_KEPT:
            self._alike.popitem(last=False)
        return alike

    def withdrawn(self) -> frozenset[str]:
        """Places where marks stand well enough: over all prompts that begin alike, what they miss costs less than reading
        what could be read. There are only four marks, and a miss now and then is no reason to move one."""
        worth = {place for alike in self._alike.values() for place, lost in alike.costs.items() if lost >= alike.readable}
        return frozenset(self._seen - worth)

    def fixer(self) -> Fixer:
        wanted = {
            key: [boundary for boundary, _ in alike.missed.most_common(MAX_MARKS - 2)]
            for key, alike in self._alike.items()
            if max(alike.costs.values(), default=0) >= alike.readable
        }
        return lambda request: _marked_at(request, wanted.get(_beginning(request), []))


def _beginning(request: LoggedRequest) -> int:
    return hash((request.cache_name, request.pieces[0].text))


def _marked_at(request: LoggedRequest, wanted: list[Boundary]) -> LoggedRequest:
    marks = list(request.marks())
    if not marks:
        return request
    places = {(piece.section, piece.message, piece.block): i for i, piece in enumerate(request.pieces)}
    places |= {(FROM_END, len(request.pieces) - i, 0): i for i in range(len(request.pieces))}
    added = [places[boundary] for boundary in wanted if boundary in places]
    kept = sorted({*added, *marks[-(MAX_MARKS - len(set(added))) :]})
    if kept == marks:
        return request
    return request.with_pieces(
        tuple(
            piece._replace(mark=(piece.mark or FIVE_MINUTES) if i in kept else None)
            for i, piece in enumerate(request.pieces)
        )
    )
