"""What the engine tells its observer."""

from foreword.engine.generation import Sequence
from foreword.events import RequestFinished, StepFinished
from foreword.sched import StepPlan


def request_finished(sequence: Sequence, outcome: str, now: float) -> RequestFinished:
    """The event of a sequence that has just ended."""
    request, space = sequence.request, sequence.request.namespace
    account = request.account()
    hit_end = account.hit_end
    tokens, prompt = request.packed(), 4 * request.num_prompt_tokens
    return RequestFinished(
        request_id=sequence.request_id,
        namespace=space.key,
        identity=(space.model.weights, space.adapter, space.tenant, space.cache_salt),
        tenant=space.tenant,
        tokens=tokens[:prompt],
        generated=tokens[prompt:],
        arrival=request.arrival,
        admitted=request.admitted,
        first_token=sequence.first_token_time,
        finished=now,
        outcome=outcome,
        cached=account.cached,
        shared_in_flight=account.shared_in_flight,
        computed=account.computed,
        recomputed=account.recomputed,
        unprocessed=account.unprocessed,
        hit_reason="" if hit_end is None else hit_end.reason.value,
        hit_end=0 if hit_end is None else hit_end.position,
        nearest=b"" if hit_end is None else hit_end.nearest,
        lost_tokens=0 if hit_end is None else hit_end.lost_tokens,
        differs_in="" if hit_end is None else hit_end.differs_in,
        evicted_at=None if hit_end is None else hit_end.evicted_at,
    )


def step_finished(plan: StepPlan, seconds: float) -> StepFinished:
    """The event of a step that ran."""
    prompts, generating = [], 0
    for chunk in plan.chunks:
        end = min(chunk.end, chunk.request.num_prompt_tokens)
        if chunk.start < end:
            prompts.append((chunk.start, end))
        else:
            generating += 1
    return StepFinished(seconds, tuple(prompts), generating)
