"""The loop of a cache alone: requests one after another, each reserve → plan → commit → release. No scheduler, no model.

It is what published simulators replay: a request is whole in the cache while it runs, and nobody runs beside it.
"""

from collections.abc import Iterable, Sequence

from foreword.cache import (
    CacheConfig,
    ConversationState,
    Mark,
    ModelFingerprint,
    Namespace,
    PrefixCache,
    PrivatePart,
    RequestLedger,
)
from foreword.replay.costs import MEASURED, Costs
from foreword.replay.result import ReplayResult, Tally
from foreword.replay.traces import TraceRequest
from foreword.sched import SchedulerConfig
from foreword.tokens import TOKEN_BYTES

SPACE = Namespace(ModelFingerprint("trace"))
"""The namespace of requests that name none; its fingerprint is that of all traces."""


def process(
    cache: PrefixCache,
    namespace: Namespace,
    tokens: bytes,
    now: float,
    *,
    generated: bytes = b"",
    use_cache: bool = True,
    marks: Sequence[Mark] = (),
    private: PrivatePart | None = None,
    conversation: ConversationState | None = None,
) -> RequestLedger | None:
    """One request from beginning to end, at one moment: its ledger; None if the cache has not enough blocks for it.

    ``tokens`` is the prompt, packed, ``generated`` what is computed after it. What was computed stays cached.
    """
    length = len(tokens) // TOKEN_BYTES
    ledger = RequestLedger(length)
    match = cache.match(namespace, tokens, private, use_cache=use_cache)
    reservation = cache.reserve(match, ledger, now, marks)
    if reservation is None:  # once more: the first attempt may fail for the one block it wanted to copy from, and evicts it
        reservation = cache.reserve(match, ledger, now, marks)
    if reservation is None:
        return None
    cache.plan(reservation, length, length)
    cache.actions.take()  # there is no KV memory to carry them out on
    cache.commit(reservation)
    total = length + len(generated) // TOKEN_BYTES
    if total > length and cache.grow(reservation, total, now):
        cache.plan(reservation, total, total)
        cache.commit(reservation)
    cache.release(reservation, now, generated, conversation=conversation)
    return ledger


def hit_rate(prompts: Iterable[bytes], config: CacheConfig) -> float:
    """The share of the tokens of packed prompts that a cache had; prompts that do not fit are asked for, and not cached."""
    cache, cached, total = PrefixCache(config), 0, 0
    for now, tokens in enumerate(prompts):
        ledger = process(cache, SPACE, tokens, float(now))
        total += len(tokens) // TOKEN_BYTES
        cached += 0 if ledger is None else ledger.account().cached
    return cached / total if total else 0.0


def replay_cache(
    requests: Iterable[TraceRequest],
    config: CacheConfig,
    costs: Costs = MEASURED,
    step_tokens: int = SchedulerConfig.max_num_batched_tokens,
    scale: int = 1,
) -> ReplayResult:
    """A trace through a cache alone. TTFT is that of an idle machine: what the tokens that are not cached take."""
    cache, tally, seconds = PrefixCache(config), Tally(), 0.0
    for request in requests:
        seconds = request.arrival
        prompt = request.prompt(scale)
        ledger = None
        if prompt:
            known = request.answer(scale)[:-TOKEN_BYTES]  # the last token of an answer is never computed
            ledger = process(
                cache, namespace_of(request), prompt, seconds, generated=known, use_cache=request.uses_cache,
                conversation=request.conversation,
            )  # fmt: skip
        if ledger is None:
            tally.refused += 1
            continue
        account = ledger.account()
        ttft = costs.alone_seconds(account.reused, account.prompt_tokens, step_tokens)
        tally.add(account, len(known) // TOKEN_BYTES + 1, ttft)
    return tally.result(cache.usage().evicted_tokens, 0, seconds, 0.0)


def namespace_of(request: TraceRequest) -> Namespace:
    """The namespace of a request of a trace."""
    return SPACE if not request.scope else Namespace(SPACE.model, cache_salt=request.scope)
