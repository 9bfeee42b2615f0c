"""The engine: a scheduler and a runner in one loop. One thread; nothing happens between calls of ``step``.

It is given its parts (``build.py`` makes those of a real model) and imports no torch.
"""

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from foreword.cache import CacheAction, CopyBlock, Query, StoreBlocks, Usage
from foreword.engine.drafting import Drafting
from foreword.engine.generation import Continuation, Generation
from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.records import request_finished, step_finished, store_found, store_moved
from foreword.engine.request import EngineRequest, check_request, scope_of
from foreword.engine.runner import Runner, Sampled, Step, StepChunk
from foreword.engine.tier import Found, Loaded, PutAway, Tier
from foreword.engine.tier_state import TierState
from foreword.engine.verify import Verifier, VerifyReport
from foreword.errors import GrammarFailed, IntegrityError, ParameterError, StepFailed
from foreword.events import EventRelay, EventSink
from foreword.faults import NO_FAULTS, fault_lines, kind_of
from foreword.sampling_params import SamplingParams
from foreword.sched import Draft, Request, RequestState, ScheduledChunk, Scheduler, StepPlan
from foreword.tokens import TOKEN_BYTES

logger = logging.getLogger("foreword")
NO_DRAFTS: Mapping[Request, Draft] = {}
STORE_SECONDS = 20.0
"""At its end an engine stores what is cached for at most so long."""


class StepState(StrEnum):
    """What a pass of the loop came to.

    ``worked``: a step was computed, or failed. ``awaiting``: no request can go on before something arrives that others
    bring; there is a ring when it does. ``stuck``: none could ever go on, and all were ended. ``idle``: there is no request.
    """

    WORKED = "worked"
    AWAITING = "awaiting"
    STUCK = "stuck"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A pass of the loop. ``news``: requests that ended in it, and of streams those that got a token."""

    state: StepState
    news: tuple[Generation, ...] = ()


class Engine:
    """Takes requests, runs steps, gives their continuations.

    scheduler
        Over a cache whose events go to ``events``.
    runner
        Computes the steps, on the memory of that cache's blocks.
    tier
        Where blocks are stored below its memory; None: nowhere.
    verifier
        Checks hits while serving; None: nobody does.
    drafting
        Chooses tokens that are computed before anybody knows that they come; None: nobody does.
    seed
        Makes sampling without a seed of its own repeatable; None: it is not.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        info: EngineInfo,
        text: ModelText,
        *,
        events: EventRelay | None = None,
        clock: Callable[[], float] = time.monotonic,
        tier: Tier | None = None,
        verifier: Verifier | None = None,
        drafting: Drafting | None = None,
        seed: int | None = None,
    ):
        self.scheduler = scheduler
        self.info = info
        self.text = text
        self.clock = clock
        self._runner = runner
        self._events = EventRelay() if events is None else events
        self._reported: Exception | None = None
        self._tier = tier
        self._asked: dict[int, tuple[Query, list[Request]]] = {}  # what is looked up below and for whom, by its number
        self._look_ups = itertools.count()
        self._verifier = verifier
        self._drafting = drafting
        self._seeds = random.Random(seed)
        self._generations: dict[str, Generation] = {}
        self._continuations: dict[Request, Continuation] = {}
        self._names = (f"request-{number}" for number in itertools.count())

    def add_request(self, request: EngineRequest) -> Generation:
        """Queue a request. Raises PromptError or ParameterError, and queues nothing, if it cannot be answered.

        One to be resumed whose answer is whole already has finished when this returns.
        """
        name = request.request_id or next(name for name in self._names if name not in self._generations)
        if name in self._generations:
            raise ParameterError(f"request_id {name!r} is in use by a request that has not finished.")
        params, length = request.params, len(request.tokens) // TOKEN_BYTES
        check_request(request, self.info, name)
        arrival = self.clock()
        namespace, private = scope_of(request, self.info.fingerprint)
        continuations = []
        for index in range(params.n):
            scheduled = Request(
                request_id=name if params.n == 1 else f"{name}/{index}",
                prompt=request.tokens,
                namespace=namespace,
                limit=min(length + params.max_tokens, self.info.max_model_len),
                arrival=arrival,
                use_cache=request.use_cache and (params.prompt_logprobs is None or index > 0),
                private=private,
                marks=request.marks,
                predicted=request.predicted,
                conversation=request.conversation,
            )
            ends, seed = self.info.end_token_ids, self._seed(params, index)
            shown, tokenizer, grammar = request.shown_tokens, self.text.tokenizer, request.grammar
            continuation = Continuation(name, scheduled, index, params, tokenizer, ends, seed, shown, grammar)
            if request.resume is not None:
                continuation.resume(request.resume.choices[index])
            continuations.append(continuation)
        for continuation in continuations:
            self.scheduler.add(continuation.request)
        for continuation in continuations:
            self._continuations[continuation.request] = continuation
        generation = Generation(name, request, continuations, arrival)
        self._generations[name] = generation
        for continuation in continuations:
            if continuation.finish_reason is not None:
                self._end(continuation, continuation.finish_reason)
        waiting = [each.request for each in continuations if each.finish_reason is None]
        if waiting:
            self._ask(request.tokens, waiting)
        return generation

    def abort(self, request_id: str) -> Generation | None:
        """End a request now; its blocks are free at once. None if there is no such request."""
        generation = self._generations.get(request_id)
        if generation is None:
            return None
        for continuation in generation.continuations:
            self._end(continuation, "abort")
        return generation

    def has_unfinished_requests(self) -> bool:
        """Whether there is something to do."""
        return bool(self._generations)

    def step(self) -> StepOutcome:
        """One pass of the loop: schedule → run → commit. What the cache asks for is carried out also if nothing is computed.

        A step that raises ends its requests with StepFailed; an interrupt (KeyboardInterrupt) leaves them as they were
        before the step, and goes on to the caller.
        """
        self._report_sink()
        started = self.clock()
        self._take_news(started)
        plan = self.scheduler.schedule(started, self._drafts())
        copies = self._begin_transfers(plan.actions)
        chunks, refused = self._step_chunks(plan)
        try:
            sampled = self._run(copies, () if refused else chunks)
            if len(sampled) != len(plan.chunks) and not refused:
                raise StepFailed(f"{len(sampled)} results for {len(plan.chunks)} chunks")
        except NO_FAULTS:
            self.scheduler.abandon(plan)
            raise
        except BaseException as error:  # native code raises what is no Exception
            return StepOutcome(StepState.WORKED, self._fail(plan, error))
        if refused:
            self.scheduler.abandon(plan)
            return StepOutcome(StepState.WORKED, self._end_failed(refused))
        if not plan.chunks:
            return self._nothing_to_compute()
        wrong = self._wrong_drafts(plan, sampled)
        self.scheduler.commit(plan, wrong)
        self._measured(plan, self.clock() - started, wrong)
        ended = self._end_broken(plan, sampled)
        news = (*ended, *self._advance(plan, sampled))
        self._begin_transfers(self.scheduler.cache.actions.take())
        return StepOutcome(StepState.WORKED, news)

    def _run(self, copies: Sequence[CopyBlock], chunks: tuple[StepChunk, ...]) -> list[Sampled]:
        """Carry out copies, and compute what is to be computed."""
        self._runner.carry_out(copies)
        if not chunks:
            return []
        with nullcontext() if self._tier is None else self._tier.giving_way():
            return self._runner.run(Step(chunks))

    def _drafts(self) -> Mapping[Request, Draft]:
        """What may come behind the tokens of those that generate."""
        if self._drafting is None:
            return NO_DRAFTS
        generating = [self._continuations[request] for request in self.scheduler.running if request.can_draft]
        return self._drafting.drafts(generating)

    def _wrong_drafts(self, plan: StepPlan, sampled: list[Sampled]) -> dict[Request, int]:
        """Of the requests with a draft, how many of a chunk's last tokens are not to be believed; notes how many came.

        Where all of a chunk cannot be believed the draft may be to blame: it is computed again, without one.
        """
        wrong: dict[Request, int] = {}
        for chunk, brought in zip(plan.chunks, sampled, strict=True):
            if chunk.draft is None:
                continue
            assert self._drafting is not None
            right = max(0, len(brought.tokens) - 1)
            wrong[chunk.request] = chunk.end - chunk.start if brought.broken else chunk.num_drafted - right
            self._drafting.came(chunk.request, chunk.num_drafted, right)
            chunk.request.ledger.draft(chunk.draft.drafter, chunk.num_drafted, right)
            if brought.broken:
                self._drafting.give_up(chunk.request)
        return wrong

    def _measured(self, plan: StepPlan, seconds: float, wrong: Mapping[Request, int]) -> None:
        """Tell of a step that ran whoever goes by what steps take."""
        if self._tier is not None:
            self._tier.computed(plan.num_tokens, seconds)
        if self._drafting is not None and all(chunk.start >= chunk.request.num_prompt_tokens for chunk in plan.chunks):
            self._drafting.computed(plan.num_tokens, seconds)
        if self._events:
            self._events(step_finished(plan, seconds, wrong))

    def on_arrival(self, ring: Callable[[], None]) -> None:
        """Have ``ring`` called, from any thread, when something arrives for which requests may be waiting."""
        if self._tier is not None:
            self._tier.on_arrival(ring)

    def close(self, seconds: float) -> None:
        """The end of a service: what is cached is stored on the tier, as far as that takes at most so many seconds."""
        if self._tier is not None:
            self.scheduler.cache.transfers.store_all(self.clock())
            asked = self.scheduler.cache.actions.take()
            self._tier.close(seconds, [action for action in asked if isinstance(action, StoreBlocks)])
            self._tier = None

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes in memory; what a store has stays there. Running requests go on."""
        self.scheduler.cache.reset()

    def check_integrity(self) -> None:
        """IntegrityError if the cache's books do not add up."""
        self.scheduler.cache.check_integrity()

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """From now on tell ``sink`` too of requests and steps, and of what enters and leaves the cache.

        What it raises ends nothing; the first time is logged. Returns what ends the subscription.
        """
        self._events.add(sink)
        return partial(self._events.remove, sink)

    def usage(self) -> Usage:
        """The cache's blocks by state."""
        return self.scheduler.cache.usage()

    def state(self) -> EngineState:
        """Requests and blocks, in figures."""
        scheduler = self.scheduler
        faults = 0 if self._drafting is None else self._drafting.faults
        return EngineState(len(scheduler.running), len(scheduler.waiting), scheduler.num_preemptions, self.usage(), faults)

    def tier_state(self) -> TierState | None:
        """The stores below the memory; None where there are none. May be called from any thread."""
        tier = self._tier
        return None if tier is None else tier.state()

    def verify_report(self) -> VerifyReport:
        """What the verifier has found so far."""
        return VerifyReport() if self._verifier is None else self._verifier.report()

    def _ask(self, prompt: bytes, requests: list[Request]) -> None:
        """Have looked up what the tier has of a prompt, unless all of it is cached; its requests wait for the answer."""
        first, cache = requests[0], self.scheduler.cache
        if self._tier is None or not any(request.use_cache for request in requests):
            return
        match = cache.match(first.namespace, prompt, first.private)
        if match.found // cache.config.block_size < (first.num_prompt_tokens - 1) // cache.config.block_size:
            number = next(self._look_ups)
            self._asked[number] = match.query, requests
            for request in requests:
                request.stored = None
            self._tier.look_up(number, match.query)

    def _take_news(self, now: float) -> None:
        """Hear what has come of look-ups and transfers."""
        transfers = self.scheduler.cache.transfers
        for news in () if self._tier is None else self._tier.news():
            match news:
                case Found(number, stored):
                    query, requests = self._asked.pop(number)
                    for request in requests:
                        request.stored = stored
                    told = partial(store_found, query, news)
                case Loaded(load, until, reason):
                    transfers.arrived(load, until, now, reason)
                    told = partial(store_moved, news)
                case PutAway(store, until):
                    transfers.put_away(store, until)
                    told = partial(store_moved, news)
            if self._events:
                self._events(told())
            self.scheduler.look_again()

    def _begin_transfers(self, actions: Sequence[CacheAction]) -> list[CopyBlock]:
        """Begin the transfers among the cache's actions; returns the copies, which are the runner's."""
        copies: list[CopyBlock] = []
        for action in actions:
            match action:
                case CopyBlock():
                    copies.append(action)
                case _:
                    assert self._tier is not None, "a cache without a tier asks for no transfers"
                    self._tier.begin(action)
        return copies

    def _seed(self, params: SamplingParams, index: int) -> int:
        return self._seeds.getrandbits(62) if params.seed is None else params.seed + index

    def _step_chunks(self, plan: StepPlan) -> tuple[tuple[StepChunk, ...], dict[Continuation, BaseException]]:
        """A plan as the runner takes it, and the continuations that cannot say how to go on."""
        chunks: list[StepChunk] = []
        refused: dict[Continuation, BaseException] = {}
        for chunk in plan.chunks:
            try:
                chunks.append(self._step_chunk(chunk))
            except NO_FAULTS:
                self.scheduler.abandon(plan)
                raise
            except BaseException as error:  # native code raises what is no Exception
                refused[self._continuations[chunk.request]] = error
        return tuple(chunks), refused

    def _step_chunk(self, chunk: ScheduledChunk) -> StepChunk:
        """A chunk as the runner takes it."""
        request, continuation = chunk.request, self._continuations[chunk.request]
        assert request.reservation is not None
        return StepChunk(
            request_id=request.request_id,
            start=chunk.start,
            end=chunk.end,
            tokens=request.tokens[: request.num_tokens],
            blocks=request.reservation.table,
            num_prompt_tokens=request.num_prompt_tokens,
            sampling=continuation.sampling() if self._wants(chunk) else None,
            prompt_logprobs=continuation.params.prompt_logprobs if continuation.lacks_prompt_logprobs else None,
            draft=() if chunk.draft is None else chunk.draft.tokens,
        )

    def _advance(self, plan: StepPlan, sampled: list[Sampled]) -> tuple[Generation, ...]:
        """Give the continuations what the step brought, and see which have finished. What raises ends its request alone."""
        now = self.clock()
        touched: dict[Generation, None] = {}
        for place, (chunk, brought) in enumerate(zip(plan.chunks, sampled, strict=True)):
            continuation = self._continuations.get(chunk.request)
            if continuation is None or chunk.request.state is not RequestState.RUNNING:
                continue  # it ended with another one of its generation, or begins anew
            generation = self._generations[continuation.request_id]
            try:
                self._take(continuation, chunk, place, brought, now)
            except (IntegrityError, *NO_FAULTS):
                raise  # nothing is right any more, or somebody wants the end
            except BaseException as error:  # native code raises what is no Exception
                self._end_failed({continuation: error})
            if (chunk.samples and not brought.broken) or generation.finished:
                touched[generation] = None
        return tuple(generation for generation in touched if generation.request.stream or generation.finished)

    def _take(self, continuation: Continuation, chunk: ScheduledChunk, place: int, brought: Sampled, now: float) -> None:
        """Give a continuation what came of its chunk, number ``place`` of the step, and end it if it has finished."""
        continuation.add_prompt_logprobs(chunk.start + 1, brought.prompt_logprobs)
        if not chunk.samples or brought.broken:
            return
        if continuation.params.max_tokens == 0:
            self._end(continuation, "length")
        else:
            if self._verifier is not None and not continuation.num_output_tokens:
                self._verifier.check(chunk.request, place, now)
            if brought.fault is not None:
                raise brought.fault
            for token in brought.tokens:
                continuation.add_token(token, now)
                if continuation.finish_reason is not None:
                    self._end(continuation, continuation.finish_reason)
                    break

    def _end_broken(self, plan: StepPlan, sampled: list[Sampled]) -> tuple[Generation, ...]:
        """End the requests that came to what is no number. Nothing they computed is kept; who has read it begins anew."""
        pairs = list(zip(plan.chunks, sampled, strict=True))
        broken = [
            chunk.request
            for chunk, brought in pairs
            if (brought.broken and chunk.draft is None)
            or not (brought.broken or brought.tokens or brought.fault is not None or not self._wants(chunk))
        ]
        if not broken:
            return ()
        self.scheduler.discard(broken, self.clock())
        ended: list[Generation] = []
        for request in broken:
            continuation = self._continuations.get(request)
            if continuation is not None:
                fault = f"Request {continuation.request_id}: the model's logits are not numbers (NaN or inf)."
                ended += self._end_generations([continuation], StepFailed(fault))
        return tuple(ended)

    def _wants(self, chunk: ScheduledChunk) -> bool:
        """Whether a token is to be sampled after a chunk."""
        return chunk.samples and self._continuations[chunk.request].params.max_tokens > 0

    def _nothing_to_compute(self) -> StepOutcome:
        if not self._continuations:
            return StepOutcome(StepState.IDLE)
        if self._tier is not None and self._tier.awaited():
            return StepOutcome(StepState.AWAITING)
        return StepOutcome(StepState.STUCK, self._fail_all())

    def _report_sink(self) -> None:
        """Say once what a sink of events has raised."""
        if self._events.fault is not None and self._events.fault is not self._reported:
            self._reported = self._events.fault
            logger.error(
                "Whoever is told of the engine's events raised; it goes on without.\n%s", fault_lines(self._reported)
            )

    def _fail(self, plan: StepPlan, error: BaseException) -> tuple[Generation, ...]:
        """Undo the step and end its requests with StepFailed."""
        logger.error("A step failed; its %d requests end with an error.\n%s", len(plan.chunks), fault_lines(error))
        failure = StepFailed(f"The forward pass of this request failed: {kind_of(error)}.")
        failure.__cause__ = error
        failed = [self._continuations[request] for request in self.scheduler.fail(plan, self.clock())]
        return self._end_generations(failed, failure)

    def _fail_all(self) -> tuple[Generation, ...]:
        """Requests that wait for one another, or for room that nobody holds, would wait for ever: end them."""
        running, waiting = len(self.scheduler.running), len(self.scheduler.waiting)
        failure = StepFailed(
            f"No request could go on ({running} running, {waiting} waiting): a fault of Foreword's scheduler. Please report "
            f"it; sending the requests again is safe."
        )
        logger.error("%s", failure)
        return self._end_generations(list(self._continuations.values()), failure)

    def _end_failed(self, failed: dict[Continuation, BaseException]) -> tuple[Generation, ...]:
        """End the requests of continuations whose own text, log-probabilities or rules raised; the others go on."""
        ended: list[Generation] = []
        for continuation, error in failed.items():
            name, kind = continuation.request_id, type(error).__name__
            logger.error("Request %s failed by itself; the others go on.\n%s", name, fault_lines(error))
            failure = StepFailed(f"Request {name}: its text, log-probabilities or rules could not be made: {kind}.")
            if name in self._generations:
                told = error if isinstance(error, GrammarFailed) else failure  # which says nothing of an input
                ended += self._end_generations([continuation], told)
        return tuple(ended)

    def _end_generations(self, continuations: Iterable[Continuation], error: Exception) -> tuple[Generation, ...]:
        """End the whole requests to which some continuations belong."""
        ended = dict.fromkeys(self._generations[continuation.request_id] for continuation in continuations)
        for generation in ended:
            for continuation in generation.continuations:
                self._end(continuation, "error", error)
        return tuple(ended)

    def _end(self, continuation: Continuation, reason: str, error: Exception | None = None) -> None:
        """Let go of a continuation's blocks and settle its output. Harmless if it has ended."""
        if self._continuations.pop(continuation.request, None) is None:
            return
        now = self.clock()
        self.scheduler.finish(continuation.request, now)
        if self._drafting is not None:
            self._drafting.ended(continuation.request)
        continuation.finish(reason, now, error)
        generation = self._generations[continuation.request_id]
        if self._events and continuation.index == 0:
            self._events(request_finished(generation.request, continuation, reason, now))
        if generation.finished:
            del self._generations[continuation.request_id]
