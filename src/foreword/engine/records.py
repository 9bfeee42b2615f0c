"""What the engine tells its observer."""

from collections.abc import Mapping

from foreword.account import MissReason
from foreword.cache import Query
from foreword.engine.generation import Continuation
from foreword.engine.request import EngineRequest
from foreword.engine.tier import Found, Loaded, PutAway
from foreword.events import DraftLooked, RequestFinished, StepFinished, StoreAnswered
from foreword.sched import Request, StepPlan
from foreword.tokens import TOKEN_BYTES


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
        conversation=asked.conversation,
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


def store_found(query: Query, found: Found) -> StoreAnswered:
    """The event of a look-up that has been answered."""
    others = MissReason.STORED_OTHER_IDENTITY
    until = max((stored.until for stored in found.stored if stored.why_not is not others), default=0)
    private = query.private
    owner, private_from = (None, 0) if private is None else (private.owner, private.start)
    return StoreAnswered(query.namespace.key, query.tokens, 0, until, owner, private_from)


def store_moved(news: Loaded | PutAway) -> StoreAnswered:
    """The event of a transfer that has ended. Only a load that found nothing where it ended says so of the rest."""
    transfer = news.load if isinstance(news, Loaded) else news.store
    tokens, private = transfer.tokens, transfer.private
    if isinstance(news, PutAway) or news.reason is MissReason.LOAD_SLOWER:
        tokens = tokens[: news.until * TOKEN_BYTES]
    owner, private_from = (None, 0) if private is None else (private.owner, private.start)
    return StoreAnswered(transfer.namespace.key, tokens, transfer.start, news.until, owner, private_from)
