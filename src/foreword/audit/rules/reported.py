"""What the rules on reported usage share: what was to be expected, and what its absence cost."""

from foreword.audit.case import Case, Sighting, excerpt

WORTH_REPORTED = 1_024
"""Tokens from which a hit that the provider does not report is worth a word."""


def expected(case: Case) -> int:
    """Tokens that the provider's rules let it read, by the replay, in the provider's own tokens."""
    usage, outcome = case.request.usage, case.outcome
    if usage is None or not outcome.prompt:
        return 0
    return min(usage.prompt, outcome.cached * usage.prompt // outcome.prompt)


def sight_reported(case: Case, place: str, lost: int, said: str, before: str | None = None) -> Sighting:
    """The sighting of hits that the provider does not report: ``lost`` tokens at the price of plain ones."""
    price = case.terms.price
    dollars = None if price is None else price.dollars(plain=lost) - price.dollars(read=lost)
    old = None if before is None else excerpt(before, 0)
    return Sighting(place, place, case.request.line, 0, old, excerpt(said, 0), lost=lost, dollars=dollars)
