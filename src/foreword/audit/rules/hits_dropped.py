"""FW403."""

from foreword.audit.case import Case, Sighting
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.rules.reported import WORTH_REPORTED, sight_reported


class HitsDropped(Rule):
    """The provider reports fewer cached tokens than in the turn before, although the conversation only grew.

    ## Why it costs

    What the turn before had read from the cache is computed again. The log does not show why: something that is not in it
    has changed (system prompt, tools, a gateway), or the provider has dropped the entry.

    ## Example

        turn 7: cached 48,000
        turn 8: cached 0            the same messages, and two more

    ## Fix

    Compare the two requests as they were sent, tools and system prompt first; look for tools that connect late, a prompt
    that is loaded anew, a pause, or a switch of account or region.
    """

    code = "FW403"
    name = "hits-dropped"
    explains_break = False
    needs_saving = False

    def examine(self, case: Case) -> Sighting | None:
        usage, link = case.request.usage, case.before
        if link is None or not link.sure or usage is None or link.value.usage is None or case.outcome.expired:
            return None
        before = link.value
        known = link.value.usage.cached
        unchanged = before.model == case.request.model and before.deployment == case.request.deployment
        if not unchanged or case.parted is not None or known < WORTH_REPORTED or usage.cached * 2 > known:
            return None
        told = f"{usage.cached} tokens were cached, {known} in the turn before"
        return sight_reported(case, "usage from turn to turn", known - usage.cached, told)

    def fixer(self) -> Fixer:
        return lambda request: request
