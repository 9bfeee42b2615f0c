"""Where two prompts that have parted go on alike: the arithmetic of near-twins."""

from dataclasses import dataclass

from foreword.tokens import TOKEN_BYTES, shared_from

WINDOW = 64  # how many tokens of either prompt may differ in one place
RUN = 16  # how many equal tokens make a meeting


@dataclass(frozen=True, slots=True)
class Meeting:
    """After a place where two prompts part, ``old_skip`` and ``new_skip`` tokens on, ``alike`` tokens are the same."""

    old_skip: int
    new_skip: int
    alike: int


def meet(old: bytes, new: bytes, at: int) -> Meeting | None:
    """The nearest place at which two packed prompts that part at token ``at`` go on with at least RUN equal tokens.

    Nearest: with the fewest tokens skipped in both together, at most WINDOW in each. None if there is no such place.
    """
    reach = old[at * TOKEN_BYTES : (at + WINDOW + RUN) * TOKEN_BYTES]
    best: tuple[int, int] | None = None
    for new_skip in range(WINDOW + 1):
        if best is not None and new_skip >= sum(best):
            break
        needle = new[(at + new_skip) * TOKEN_BYTES : (at + new_skip + RUN) * TOKEN_BYTES]
        if len(needle) < RUN * TOKEN_BYTES:
            break
        old_skip = find_tokens(reach, needle)
        if old_skip is not None and (best is None or old_skip + new_skip < sum(best)):
            best = (old_skip, new_skip)
    if best is None:
        return None
    alike = shared_from(new, (at + best[1]) * TOKEN_BYTES, old[(at + best[0]) * TOKEN_BYTES :])
    return Meeting(best[0], best[1], alike)


def find_tokens(tokens: bytes, wanted: bytes, start: int = 0) -> int | None:
    """The first position, from token ``start`` on, at which packed tokens contain others; None if they do not."""
    at = tokens.find(wanted, start * TOKEN_BYTES)
    while at % TOKEN_BYTES and at >= 0:
        at = tokens.find(wanted, at + 1)
    return None if at < 0 else at // TOKEN_BYTES
