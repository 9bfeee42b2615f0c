"""FW402."""

from foreword.audit.case import Case, Sighting
from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.rules.reported import WORTH_REPORTED, expected, sight_reported

PLACE = "deployment"


class DeploymentsApart(Rule):
    """A router spreads a conversation over several deployments, each of which has a cache of its own.

    ## Why it costs

    A turn that goes to another deployment than the one before finds nothing there, or what an older turn left. The more
    deployments, the fewer turns hit.

    ## Example

        turn 1: model_id = east     cached 0
        turn 2: model_id = west     cached 0
        turn 3: model_id = east     cached 4,000

    ## Fix

    Let the router keep a conversation at one deployment: route by a session id or by the prompt's beginning (in LiteLLM
    `optional_pre_call_checks: ["prompt_caching"]`).
    """

    code = "FW402"
    name = "deployments-apart"
    explains_break = False
    needs_saving = False

    def __init__(self) -> None:
        self._plain = False

    def examine(self, case: Case) -> Sighting | None:
        request, usage, hoped = case.request, case.request.usage, expected(case)
        before = None if case.before is None else case.before.value
        if before is None or usage is None or not request.deployment or not before.deployment:
            return None
        lost = hoped - usage.cached
        if request.deployment == before.deployment or hoped < WORTH_REPORTED or lost <= 0:
            return None
        self._plain = self._plain or usage.cached * 2 <= hoped
        said = f"{request.deployment}: {usage.cached} of {hoped} expected tokens were cached"
        return sight_reported(case, PLACE, lost, said, before.deployment)

    def withdrawn(self) -> frozenset[str]:
        """No turn lost half of what was to be expected: so little may be how tokens are counted here."""
        return frozenset() if self._plain else frozenset({PLACE})

    def fixer(self) -> Fixer:
        return lambda request: request
