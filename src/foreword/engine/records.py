"""What the engine tells its observer."""

from collections.abc import Mapping

from foreword.engine.generation import Continuation
from foreword.engine.request import EngineRequest
from foreword.events import DraftLooked, RequestFinished, StepFinished
from foreword.sched import Request, StepPlan


def request_finished(asked: EngineRequest, continuation: Continuation, outcome: str, now: float) -> RequestFinished:
    """The event of a request whose first continuation has just ended."""
    request, space = continuation.request, continuation.request.namespace
    generated = request.packed()[len(asked.tokens) :]
    return RequestFinished(
        request_id=continuation.request_id,
        namespace=space.key,
        identity=(space.model.weights, space.adapter, space.tenant, space.cache_salt),
        tenant=asked.asked_by or asked.tenant,
        tokens=asked.tokens,
        generated=generated,
        arrival=request.arrival,
        admitted=request.admitted,
        first_token=continuation.first_token_time,
        finished=now,
        outcome=outcome,
        account=request.account(),
        owner=None if request.private is None else request.private.owner,
        private_from=0 if request.private is None else request.private.start,
    )


def step_finished(plan: StepPlan, seconds: float, refused: Mapping[Request, int]) -> StepFinished:
    """The event of a step that ran. ``refused``: as for ``Scheduler.commit``."""
    prompts, generating, drafts = [], 0, []
    for chunk in plan.chunks:
        end = min(chunk.end, chunk.request.num_prompt_tokens)
        if chunk.start < end:
            prompts.append((chunk.start, end))
        else:
            generating += 1
        if chunk.draft is not None:
            name, drafted = chunk.request.request_id, chunk.num_drafted
            accepted = max(0, drafted - refused.get(chunk.request, 0))
            drafts.append(DraftLooked(name, chunk.draft.drafter, chunk.end - drafted, drafted, accepted))
    return StepFinished(seconds, tuple(prompts), generating, tuple(drafts))
