"""Which request runs how many tokens next.

One packed batch a step: first a token for every request that is generating, then chunks of prompts that have begun, then
new requests; what they leave of the step goes to drafts. New requests come in the order of their cached prefix, longest
first, those with equal tokens side by side, so that what one computes the next one finds. A request that has waited longer
than the age bound goes before all others, in order of arrival, and while there is no room for it nobody overtakes it.

A prompt that takes more than the step leaves half of its share to shorter ones, begun or new: nobody waits for the end of a
very long prompt, and it takes at most twice as long.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from foreword.cache import CacheAction, ConversationState, Match, PrefixCache
from foreword.errors import PromptError
from foreword.sched.config import SchedulerConfig
from foreword.sched.drafter import Draft
from foreword.sched.request import Request, RequestState
from foreword.tokens import TOKEN_BYTES

NO_DRAFTS: Mapping[Request, Draft] = {}
NONE_REFUSED: Mapping[Request, int] = {}


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """Tokens [start, end) of a request; ``samples``: its next token is sampled from the last of them.

    The last of them may be a ``draft``, which is behind the known ones; then a token is sampled from each of its rows, too,
    as far as what was sampled before is what was drafted.
    """

    request: Request
    start: int
    end: int
    samples: bool
    draft: Draft | None = None

    @property
    def num_drafted(self) -> int:
        """Tokens of its draft."""
        return 0 if self.draft is None else len(self.draft.tokens)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step does: first the actions, one after the other, then the chunks as one packed batch, in this order."""

    chunks: tuple[ScheduledChunk, ...]
    actions: tuple[CacheAction, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens of all chunks."""
        return sum(chunk.end - chunk.start for chunk in self.chunks)


class Scheduler:
    """Queues of requests over one cache. Reads no clock: every method that needs it takes ``now`` in seconds."""

    def __init__(self, config: SchedulerConfig, cache: PrefixCache):
        self.config = config
        self.cache = cache
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.num_preemptions = 0
        self._no_room = False

    def add(self, request: Request) -> None:
        """Queue a request. PromptError if the cache could never hold it."""
        size, total = self.cache.config.block_size, self.cache.config.num_blocks
        # the last sampled token needs no KV
        needed = -(-max(request.limit - 1, request.num_prompt_tokens) // size)
        if needed > total:
            raise PromptError(
                f"Request {request.request_id}: {request.num_prompt_tokens} prompt tokens and up to "
                f"{request.limit - request.num_prompt_tokens} generated ones need {needed} blocks; the cache has "
                f"{total}. Shorten the prompt, lower max_tokens, or give the cache more memory."
            )
        self.waiting.append(request)

    def schedule(self, now: float, drafts: Mapping[Request, Draft] = NO_DRAFTS) -> StepPlan:
        """Choose the next step's work. The plan must be committed, failed or abandoned before the next call.

        ``drafts``: what may follow the known tokens of requests that generate; no more than their limits let come.
        """
        self._make_room_to_generate(now)
        budget = self.config.max_num_batched_tokens
        chunks: list[ScheduledChunk] = []
        generating = [request for request in self.running if _remaining(request) == 1]
        starting = [request for request in self.running if _remaining(request) != 1]
        for request in generating:
            budget -= self._plan(request, budget, chunks)
        long: list[Request] = []  # the first that does not fit, and those that are no shorter
        kept = 0
        for request in starting:
            if not long and _remaining(request) > budget:
                budget, kept = budget // 2, budget - budget // 2
                long.append(request)
            elif long and _remaining(request) >= _remaining(long[0]):
                long.append(request)
            else:
                budget -= self._plan(request, budget, chunks)
        for request, match in self._candidates(budget, now, _remaining(long[0]) if long else None):
            if budget <= 0 or len(self.running) >= self.config.max_num_seqs:
                break
            if not self._admit(request, match, now) and not self._admit_alone(request, match, now):
                self._no_room = True
                break
            budget -= self._plan(request, budget, chunks)
        budget += kept
        for request in long:
            budget -= self._plan(request, budget, chunks)
        if drafts:
            for place, chunk in enumerate(chunks):
                chunks[place] = self._with_draft(chunk, drafts.get(chunk.request), budget, now)
                budget -= chunks[place].num_drafted
        return StepPlan(tuple(chunks), self.cache.actions.take())

    def look_again(self) -> None:
        """Something has come or gone below the cache: there may be room where there was none."""
        self._no_room = False

    def commit(self, plan: StepPlan, refused: Mapping[Request, int] = NONE_REFUSED) -> None:
        """The step ran. ``refused``: of requests with a draft, how many of a chunk's last tokens are not to be believed."""
        for chunk in plan.chunks:
            reservation = chunk.request.reservation
            assert reservation is not None
            until = chunk.end - refused.get(chunk.request, 0)
            if until > chunk.start:
                self.cache.commit(reservation, until)
            else:
                self.cache.abandon(reservation)

    def abandon(self, plan: StepPlan) -> None:
        """The step did not happen: nothing of it is kept, and its requests can run it again."""
        for chunk in plan.chunks:
            assert chunk.request.reservation is not None
            self.cache.abandon(chunk.request.reservation)

    def fail(self, plan: StepPlan, now: float) -> list[Request]:
        """The step raised: nothing of it is kept, and its requests end. Returns them."""
        self.abandon(plan)
        failed = [chunk.request for chunk in plan.chunks]
        for request in failed:
            self.finish(request, now)
        return failed

    def discard(self, requests: Iterable[Request], now: float) -> list[Request]:
        """End requests whose results are no numbers: nothing that they computed is kept.

        Running requests that have read it wait to begin anew, as after a preemption; returns them.
        """
        for request in requests:
            self.running.remove(request)
            self._release(request, now, keep=False)
            request.state = RequestState.FINISHED
        again = [request for request in self.running if request.reservation is not None and request.reservation.spoiled]
        for request in again:
            self._preempt(request, now)
        return again

    def finish(self, request: Request, now: float) -> None:
        """End a request, finished or aborted; what it has computed stays cached."""
        if request.state is RequestState.WAITING:
            self.waiting.remove(request)
        elif request.state is RequestState.RUNNING:
            self.running.remove(request)
            self._release(request, now, conversation=request.conversation)
        request.state = RequestState.FINISHED

    def _plan(self, request: Request, budget: int, chunks: list[ScheduledChunk]) -> int:
        """Add a request's next chunk to the step; returns how many tokens it has."""
        assert request.reservation is not None
        chunk = self.cache.plan(request.reservation, request.num_tokens, budget)
        if chunk is None:
            return 0
        chunks.append(ScheduledChunk(request, chunk.start, chunk.end, chunk.end == request.num_tokens))
        return chunk.end - chunk.start

    def _with_draft(self, chunk: ScheduledChunk, draft: Draft | None, budget: int, now: float) -> ScheduledChunk:
        """A chunk with as much of a draft behind it as there are tokens left in the step, and blocks to be had."""
        request, reservation = chunk.request, chunk.request.reservation
        assert reservation is not None
        if draft is None or not request.can_draft or not chunk.samples:
            return chunk
        end = request.num_tokens + min(len(draft.tokens), budget)
        if not self.cache.grow(reservation, end, now):
            end = min(end, len(reservation.table) * self.cache.config.block_size)
        if end <= chunk.end:
            return chunk
        planned = self.cache.plan(reservation, end, end - chunk.start)
        assert planned == (chunk.start, end)
        return replace(chunk, end=end, draft=draft._replace(tokens=draft.tokens[: end - chunk.end]))

    def _candidates(self, budget: int, now: float, below: int | None) -> Iterable[tuple[Request, Match]]:
        """Waiting requests in the order in which they should be admitted, with fewer than ``below`` tokens to compute.

        With each comes what the cache has of it.
        """
        if budget <= 0 or self._no_room or not self.waiting or len(self.running) >= self.config.max_num_seqs:
            return ()
        waiting = [request for request in self.waiting if request.stored is not None]
        bound = now - self.config.max_wait_seconds
        old = [request for request in waiting if request.arrival <= bound or request.preemptions]
        if old:
            matched = ((request, self._match(request)) for request in old)
            return ((r, match) for r, match in matched if below is None or r.num_tokens - match.found < below)
        ranked = []
        for request in waiting[: self.config.lookahead]:
            match = self._match(request)
            if below is None or request.num_tokens - match.found < below:
                key = (-match.found, request.namespace.key, *_in_parts(request), request.arrival)
                ranked.append((key, request, match))
        ranked.sort(key=lambda entry: entry[0])
        return [(request, match) for _, request, match in ranked]

    def _match(self, request: Request) -> Match:
        stored = request.stored or ()
        return self.cache.match(
            request.namespace, request.packed(), request.private, use_cache=request.use_cache, stored=stored
        )

    def _admit(self, request: Request, match: Match, now: float) -> bool:
        reservation = self.cache.reserve(match, request.ledger, now, request.marks)
        if reservation is None:
            return False
        request.reservation = reservation
        request.state = RequestState.RUNNING
        if request.admitted is None:
            request.admitted = now
        self.waiting.remove(request)
        self.running.append(request)
        return True

    def _admit_alone(self, request: Request, match: Match, now: float) -> bool:
        """Once more, when nobody runs: a first attempt may fail for the one block it wanted to copy from, and evicts it."""
        return not self.running and self._admit(request, match, now)

    def _make_room_to_generate(self, now: float) -> None:
        """Give every generating request a block for its next token; the last admitted make way if need be."""
        for request in list(self.running):
            while request.state is RequestState.RUNNING:
                assert request.reservation is not None
                if self.cache.grow(request.reservation, request.num_tokens, now):
                    break
                self._preempt(self.running[-1], now)

    def _preempt(self, request: Request, now: float) -> None:
        """Take a request's blocks; it waits to be admitted again, and finds in the cache what was not evicted."""
        self.running.remove(request)
        self._release(request, now)
        request.state = RequestState.WAITING
        request.preemptions += 1
        self.num_preemptions += 1
        self.waiting.insert(0, request)

    def _release(
        self, request: Request, now: float, keep: bool = True, conversation: ConversationState | None = None
    ) -> None:
        """Let go of a request's blocks. Its last token is not kept: a sampled one has KV only where it was drafted."""
        assert request.reservation is not None
        generated = request.packed()[request.reservation.length * TOKEN_BYTES : (request.num_tokens - 1) * TOKEN_BYTES]
        self.cache.release(request.reservation, now, generated, keep, conversation)
        request.reservation = None
        self._no_room = False


def _in_parts(request: Request) -> tuple[bytes, str, bytes]:
    """A request's tokens to be sorted by: what is one owner's alone is compared with that owner's only."""
    tokens, private = request.packed(), request.private
    if private is None:
        return tokens, "", b""
    cut = private.start * TOKEN_BYTES
    return tokens[:cut], private.owner, tokens[cut:]


def _remaining(request: Request) -> int:
    """Known tokens of a running request that have no KV yet."""
    assert request.reservation is not None
    return request.num_tokens - request.reservation.computed
