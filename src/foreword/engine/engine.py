"""The engine: a scheduler, a runner and a sampler in one loop. One thread; nothing happens between calls of ``step``."""

import itertools
import logging
import os
import time
from collections.abc import Callable

import numpy as np
import torch

from foreword.account import Account
from foreword.backends.registry import kernel_folder, make_backend
from foreword.cache import Mark, Namespace, PrefixCache, PrivatePart, Usage, pack_tokens
from foreword.engine.config import EngineConfig
from foreword.engine.fingerprint import model_fingerprint
from foreword.engine.generation import Generation, Sequence
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.records import request_finished, step_finished
from foreword.engine.runner import ChunkLogits, ModelRunner
from foreword.engine.sampler import Sampled, SamplingRow, sample, token_logprobs
from foreword.engine.self_test import SelfTest, run_self_test
from foreword.engine.verify import CacheVerifier, VerifyReport
from foreword.errors import ParameterError, PromptError, StepFailed
from foreword.events import EventRelay, EventSink
from foreword.outputs import RequestOutput
from foreword.sampling_params import SamplingParams
from foreword.sched import Request, Scheduler, StepPlan
from foreword.tokens import TOKEN_TYPE
from foreword.weights.opening import open_checkpoint

logger = logging.getLogger("foreword")


class Engine:
    """Takes requests, runs steps, gives outputs."""

    def __init__(
        self,
        config: EngineConfig,
        events: EventSink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        folder = kernel_folder(config.kernel_cache_dir, os.environ)
        backend = make_backend(config.backend, config.block_size, config.kv_dtype, config.quantization, folder)
        self.config = config
        self.clock = clock
        self.backend = backend
        self.model: LoadedModel = load_model(open_checkpoint(config.model), backend)
        self.max_model_len = min(config.max_model_len or self.model.max_context, self.model.max_context)
        block_bytes = backend.block_bytes(self.model.shapes)
        self.block_bytes = block_bytes
        room = backend.device_memory()
        num_blocks = config.num_blocks(block_bytes, self.max_model_len, room.free, room.total)
        memory = backend.make_memory(self.model.shapes, num_blocks)
        self.self_test: SelfTest | None = run_self_test(self.model, backend) if config.self_test else None
        self.fingerprint = model_fingerprint(self.model, backend, self.self_test is not None and self.self_test.passed)
        self._events = EventRelay(events)
        self.cache = PrefixCache(config.cache_config(num_blocks), events=self._events)
        self.scheduler = Scheduler(config.scheduler_config(), self.cache)
        self.runner = ModelRunner(self.model, memory, backend)
        self.verifier = CacheVerifier(config.verify_cache, self.cache, self.runner, config.max_num_batched_tokens)
        self._generations: dict[str, Generation] = {}
        self._sequences: dict[Request, Sequence] = {}
        self._names = (f"request-{number}" for number in itertools.count())
        self._seed = torch.Generator()
        if config.seed is None:
            self._seed.seed()
        else:
            self._seed.manual_seed(config.seed)
        self._log_start(num_blocks, block_bytes)

    def add_request(
        self,
        prompt: list[int],
        params: SamplingParams,
        *,
        text: str | None = None,
        cache_salt: str | None = None,
        tenant: str | None = None,
        public_tokens: int = 0,
        use_cache: bool = True,
        marks: tuple[Mark, ...] = (),
        request_id: str | None = None,
        stream: bool = True,
    ) -> str:
        """Queue a prompt of token ids; returns its request id. Raises PromptError or ParameterError, and queues nothing.

        ``text`` is the prompt's text, for the output. Two requests share cached prefixes only under the same
        ``cache_salt`` and ``tenant``; the first ``public_tokens`` of a tenant's prompt are shared with all tenants. Without
        ``use_cache`` a request neither reads nor feeds the cache. The prefixes that ``marks`` name are kept longer. With
        ``stream`` there is an output after every token, else only at the end.
        """
        request_id = request_id or next(name for name in self._names if name not in self._generations)
        if request_id in self._generations:
            raise ParameterError(f"request_id {request_id!r} is in use by a request that has not finished.")
        ids = self._check_prompt(request_id, prompt, params)
        _check_marks(marks, len(ids))
        limit = min(len(ids) + params.max_tokens, self.max_model_len)
        arrival = self.clock()
        namespace, private = self._scope(tenant, cache_salt, min(public_tokens, len(ids)))
        sequences = []
        for index in range(params.n):
            request = Request(
                request_id=request_id if params.n == 1 else f"{request_id}/{index}",
                prompt=ids.tobytes(),
                namespace=namespace,
                limit=limit,
                arrival=arrival,
                use_cache=use_cache and (params.prompt_logprobs is None or index > 0),
                private=private,
                marks=marks,
            )
            sequences.append(Sequence(request_id, request, index, params, self.model, self._generator(params, index)))
        for sequence in sequences:
            self.scheduler.add(sequence.request)
        for sequence in sequences:
            self._sequences[sequence.request] = sequence
        self._generations[request_id] = Generation(request_id, text, prompt, params, sequences, arrival, stream)
        return request_id

    def abort(self, request_id: str) -> RequestOutput | None:
        """End a request now; its blocks are free at once. None if there is no such request."""
        generation = self._generations.get(request_id)
        if generation is None:
            return None
        for sequence in generation.sequences:
            self._end(sequence, "abort")
        return self._output(generation)

    def has_unfinished_requests(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._generations)

    def step(self) -> list[RequestOutput]:
        """One pass of the loop: schedule → run → sample → commit. Returns what has something new to tell.

        A forward pass that raises ends its requests with StepFailed; an interrupt (KeyboardInterrupt) leaves them as they
        were before the step, and goes on to the caller.
        """
        started = self.clock()
        plan = self.scheduler.schedule(started)
        if not plan.chunks:
            return self._fail_all() if self._sequences else []
        every_row = {chunk.request for chunk in plan.chunks if self._sequences[chunk.request].lacks_prompt_logprobs}
        try:
            logits = self.runner.run(plan, every_row)
            sampled = self._sample(logits)
        except Exception as error:
            return self._fail(plan, error)
        except BaseException:
            self.scheduler.abandon(plan)
            raise
        self.scheduler.commit(plan)
        if self._events:
            self._events(step_finished(plan, self.clock() - started))
        return self._advance(logits, sampled)

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes. Running requests go on."""
        self.cache.reset()

    def subscribe(self, sink: EventSink | None) -> None:
        """From now on tell ``sink`` (None: nobody) of requests and steps, and of what enters and leaves the cache."""
        self._events.sink = sink

    def usage(self) -> Usage:
        """The cache's blocks by state."""
        return self.cache.usage()

    def verify_report(self) -> VerifyReport:
        """What --verify-cache has found so far."""
        return self.verifier.report()

    def account(self, request_id: str) -> Account | None:
        """Where the tokens of an unfinished request's prompt came from so far."""
        generation = self._generations.get(request_id)
        return None if generation is None else generation.sequences[0].request.account()

    def _check_prompt(self, request_id: str, prompt: list[int], params: SamplingParams) -> np.ndarray:
        ids = np.frombuffer(pack_tokens(prompt), TOKEN_TYPE)
        if not len(ids):
            raise PromptError(f"Request {request_id}: the prompt is empty; it needs at least one token.")
        if ids.max() >= self.model.vocab_size:
            raise PromptError(
                f"Request {request_id}: token id {ids.max()} is not in the vocabulary of {self.model.vocab_size} tokens."
            )
        if len(ids) >= self.max_model_len:
            raise PromptError(
                f"Request {request_id}: the prompt has {len(ids)} tokens, but prompt and answer together may have "
                f"{self.max_model_len}. Shorten it, or raise max_model_len if the model allows more."
            )
        for name in ("logprobs", "prompt_logprobs"):
            count = getattr(params, name)
            if count is not None and count > self.model.vocab_size:
                raise ParameterError(f"{name} is {count}; the vocabulary has {self.model.vocab_size} tokens.")
        for token in params.stop_token_ids or ():
            if not 0 <= token < self.model.vocab_size:
                raise ParameterError(f"stop_token_ids has {token}; the vocabulary has {self.model.vocab_size} tokens.")
        return ids

    def _scope(self, tenant: str | None, cache_salt: str | None, public_tokens: int) -> tuple[Namespace, PrivatePart | None]:
        """Whom a request shares with: its namespace, and where in the prompt that becomes the tenant alone."""
        if tenant is not None and public_tokens > 0:
            return Namespace(self.fingerprint, cache_salt=cache_salt), PrivatePart(public_tokens, tenant)
        return Namespace(self.fingerprint, tenant=tenant, cache_salt=cache_salt), None

    def _generator(self, params: SamplingParams, index: int) -> torch.Generator:
        if params.seed is not None:
            return torch.Generator().manual_seed(params.seed + index)
        seed = int(torch.randint(2**62, (1,), generator=self._seed))
        return torch.Generator().manual_seed(seed)

    def _sample(self, logits: list[ChunkLogits]) -> list[Sampled]:
        """The next token of every chunk that ends in its request's last known token, in order."""
        sampling = [chunk for chunk in logits if self._gets_token(chunk)]
        if not sampling:
            return []
        last = torch.stack([chunk.logits[-1] for chunk in sampling])
        return sample(last, [_sampling_row(self._sequences[chunk.chunk.request]) for chunk in sampling])

    def _advance(self, logits: list[ChunkLogits], sampled: list[Sampled]) -> list[RequestOutput]:
        """Give the sequences what the step brought, and see which have finished."""
        now, tokens = self.clock(), iter(sampled)
        touched: dict[Generation, None] = {}
        for chunk in logits:
            sequence = self._sequences[chunk.chunk.request]
            if sequence.lacks_prompt_logprobs:
                _note_prompt_logprobs(sequence, chunk)
            if chunk.chunk.samples:
                touched[self._generations[sequence.request_id]] = None
                if self._gets_token(chunk):
                    self._add_token(sequence, next(tokens), chunk.logits[-1], now)
                else:
                    self._end(sequence, "length")
        return [self._output(generation) for generation in touched if generation.stream or generation.finished]

    def _gets_token(self, chunk: ChunkLogits) -> bool:
        """Whether a token is sampled after this chunk: it ends the known tokens, and more than the prompt is wanted."""
        return chunk.chunk.samples and self._sequences[chunk.chunk.request].params.max_tokens > 0

    def _add_token(self, sequence: Sequence, sampled: Sampled, logits: torch.Tensor, now: float) -> None:
        if sampled.token is None:
            name = sequence.request_id
            self._end(sequence, "error", StepFailed(f"Request {name}: the model's logits are not numbers (NaN or inf)."))
            return
        if not sequence.prompt_done:
            self.verifier.maybe_check(sequence.request, logits, now)
        sequence.add_token(sampled, now)
        if sequence.finish_reason is not None:
            self._end(sequence, sequence.finish_reason)

    def _fail(self, plan: StepPlan, error: Exception) -> list[RequestOutput]:
        """Undo the step and end its requests with StepFailed."""
        logger.error("A step failed; its %d requests end with an error.", len(plan.chunks), exc_info=error)
        failure = StepFailed(f"The forward pass of this request failed: {type(error).__name__}: {error}")
        failure.__cause__ = error
        failed = [self._sequences[request] for request in self.scheduler.fail(plan, self.clock())]
        return self._end_generations(failed, failure)

    def _fail_all(self) -> list[RequestOutput]:
        """Requests that wait for one another, or for room that nobody holds, would wait for ever: end them."""
        running, waiting = len(self.scheduler.running), len(self.scheduler.waiting)
        failure = StepFailed(
            f"No request could go on ({running} running, {waiting} waiting): a fault of Foreword's scheduler. Please report "
            f"it; sending the requests again is safe."
        )
        logger.error("%s", failure)
        return self._end_generations(list(self._sequences.values()), failure)

    def _end_generations(self, sequences: list[Sequence], error: Exception) -> list[RequestOutput]:
        """End the whole requests to which some sequences belong."""
        generations = dict.fromkeys(self._generations[sequence.request_id] for sequence in sequences)
        for generation in generations:
            for sequence in generation.sequences:
                self._end(sequence, "error", error)
        return [self._output(generation) for generation in generations]

    def _end(self, sequence: Sequence, reason: str, error: Exception | None = None) -> None:
        """Let go of a sequence's blocks and settle its output. Harmless if it has ended."""
        if self._sequences.pop(sequence.request, None) is None:
            return
        now = self.clock()
        self.scheduler.finish(sequence.request, now)
        sequence.finish(reason, now, error)
        if self._events and sequence.index == 0:
            self._events(request_finished(sequence, reason, now))

    def _output(self, generation: Generation) -> RequestOutput:
        output = generation.output()
        if output.finished:
            del self._generations[generation.request_id]
        return output

    def _log_start(self, num_blocks: int, block_bytes: int) -> None:
        size = self.config.block_size
        logger.info(
            "Model %s: context %d tokens. KV cache: %d tokens in %d blocks of %d, %.0f MiB. "
            "Any shared prefix is reused to the token; there is no minimum.",
            self.model.name, self.max_model_len, num_blocks * size, num_blocks, size, num_blocks * block_bytes / 2**20,
        )  # fmt: skip
        description = self.backend.describe()
        logger.info("Computing with %s.", description.words)
        for warning in description.warnings:
            logger.warning("%s", warning)
        if self.self_test is not None and not self.self_test.passed:
            logger.warning("%s", self.self_test.message)


def _sampling_row(sequence: Sequence) -> SamplingRow:
    request = sequence.request
    return SamplingRow(
        params=sequence.params,
        generator=sequence.generator,
        tokens=request.tokens[: request.num_tokens],
        num_prompt_tokens=request.num_prompt_tokens,
        banned=sequence.banned_tokens(),
    )


def _check_marks(marks: tuple[Mark, ...], length: int) -> None:
    for mark in marks:
        if not (0 < mark.position <= length and mark.ttl_seconds > 0):
            raise ParameterError(f"{mark}: a mark stands at 1 to {length}, the prompt's length, for more than 0 seconds.")


def _note_prompt_logprobs(sequence: Sequence, chunk: ChunkLogits) -> None:
    count = sequence.params.prompt_logprobs
    assert count is not None
    tokens = sequence.request.tokens
    for at in range(chunk.chunk.start, min(chunk.chunk.end, sequence.request.num_prompt_tokens - 1)):
        row = chunk.logits[at - chunk.chunk.start]
        sequence.add_prompt_logprobs(at + 1, token_logprobs(row, int(tokens[at + 1]), count))
