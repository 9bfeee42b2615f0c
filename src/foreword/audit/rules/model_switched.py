"""FW204."""

from dataclasses import replace

from foreword.audit.case import Case, Sighting, excerpt, sight_piece
from foreword.audit.conversations import Conversations
from foreword.audit.request import LoggedRequest
from foreword.audit.rules.base import Fixer, Rule


class ModelSwitched(Rule):
    """A conversation goes on with another model.

    ## Why it costs

    Each model has a cache of its own. The first turn after the switch computes the whole conversation, and so does the
    switch back once the old entry has expired.

    ## Example

        turn 1 to 8: model = large
        turn 9:      model = small      (a router found the question easy)

    ## Fix

    Choose the model when a conversation begins and stay with it; hand single tasks to another model in a conversation of
    their own, with a short prompt.
    """

    code = "FW204"
    name = "model-switched"
    explains_break = False

    def __init__(self) -> None:
        self._seen = False

    def examine(self, case: Case) -> Sighting | None:
        if case.before is None or not case.before.sure:
            return None
        old = case.before.value
        if old.provider != case.request.provider or old.scope != case.request.scope or old.model == case.request.model:
            return None
        self._seen = True
        old_model, new_model = (excerpt(f"model {model}", 0) for model in (old.model, case.request.model))
        return replace(sight_piece(case, 0), place="model", label="model", position=0, old=old_model, new=new_model)

    def fixer(self) -> Fixer:
        if not self._seen:
            return lambda request: request
        models: Conversations[str] = Conversations()

        def fix(request: LoggedRequest) -> LoggedRequest:
            link = models.follow(request)
            first = link.value if link is not None and link.sure else request.model
            models.keep(request, first)
            return request if first == request.model else replace(request, shares_with=first)

        return fix
