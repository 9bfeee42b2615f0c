"""The engine: a scheduler, a runner and a sampler in one loop. One thread; nothing happens between calls of ``step``."""

import itertools
import logging
import time
from collections.abc import Callable

import numpy as np
import torch

from foreword.cache import LedgerRecord, Namespace, PrefixCache, Usage, pack_tokens
from foreword.cache.tokens import TOKEN_TYPE
from foreword.engine.attention import BACKENDS
from foreword.engine.engine_config import EngineConfig
from foreword.engine.generation import Generation, Sequence
from foreword.engine.memory import KVMemory, bytes_per_block
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.outputs import RequestOutput
from foreword.engine.runner import ChunkLogits, ModelRunner
from foreword.engine.sampler import SamplingRow, sample, token_logprobs
from foreword.engine.sampling_params import SamplingParams
from foreword.engine.self_test import SelfTest, run_self_test
from foreword.engine.verify import CacheVerifier, VerifyReport
from foreword.errors import ParameterError, PromptError, StepFailed
from foreword.events import EventSink
from foreword.sched import Request, Scheduler, StepPlan

logger = logging.getLogger("foreword")


class Engine:
    """Takes requests, runs steps, gives outputs."""

    def __init__(
        self,
        config: EngineConfig,
        events: EventSink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.config = config
        self.clock = clock
        self.model: LoadedModel = load_model(config.model, config.block_size)
        self.max_model_len = min(config.max_model_len or self.model.max_context, self.model.max_context)
        backend = BACKENDS[config.attention]()
        block_bytes = bytes_per_block(self.model.layers, config.block_size, torch.float32)
        num_blocks = config.num_blocks(block_bytes, self.max_model_len)
        memory = KVMemory(self.model.layers, num_blocks, config.block_size, torch.float32)
        self.cache = PrefixCache(config.cache_config(num_blocks), events=events)
        self.scheduler = Scheduler(config.scheduler_config(), self.cache)
        self.runner = ModelRunner(self.model, memory, backend)
        self.self_test: SelfTest | None = run_self_test(self.model, backend) if config.self_test else None
        self.verifier = CacheVerifier(config.verify_cache, self.cache, self.runner, config.max_num_batched_tokens)
        self._generations: dict[str, Generation] = {}
        self._sequences: dict[Request, Sequence] = {}
        self._ids = itertools.count()
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
        request_id: str | None = None,
    ) -> str:
        """Queue a prompt of token ids; returns its request id. Raises PromptError or ParameterError, and queues nothing.

        ``text`` is the prompt's text, for the output. Two requests share cached prefixes only under the same
        ``cache_salt``.
        """
        request_id = request_id or f"request-{next(self._ids)}"
        if request_id in self._generations:
            raise ParameterError(f"request_id {request_id!r} is in use by a request that has not finished.")
        ids = self._check_prompt(request_id, prompt, params)
        limit = min(len(ids) + params.max_tokens, self.max_model_len)
        arrival = self.clock()
        namespace = Namespace(self.model.fingerprint, cache_salt=cache_salt)
        sequences = []
        for index in range(params.n):
            request = Request(
                request_id=request_id if params.n == 1 else f"{request_id}/{index}",
                prompt=ids,
                namespace=namespace,
                limit=limit,
                arrival=arrival,
                use_cache=params.prompt_logprobs is None,
            )
            sequences.append(Sequence(request, index, params, self.model, self._generator(params, index)))
        for sequence in sequences:
            self.scheduler.add(sequence.request)
        for sequence in sequences:
            self._sequences[sequence.request] = sequence
        self._generations[request_id] = Generation(request_id, text, prompt, params, sequences, arrival)
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
        return bool(self._generations)

    def step(self) -> list[RequestOutput]:
        """One pass of the loop: schedule → run → sample → commit. Returns the requests that have something new."""
        plan = self.scheduler.schedule(self.clock())
        if not plan.chunks:
            return []
        every_row = {chunk.request for chunk in plan.chunks if self._wants_prompt_logprobs(chunk.request)}
        try:
            logits = self.runner.run(plan, every_row)
        except Exception as error:
            return self._fail(plan, error)
        self.scheduler.commit(plan)
        return self._advance(logits)

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes. Running requests go on."""
        self.cache.reset()

    def usage(self) -> Usage:
        """The cache's blocks by state."""
        return self.cache.usage()

    def verify_report(self) -> VerifyReport:
        """What --verify-cache has found so far."""
        return self.verifier.report()

    def account(self, request_id: str) -> LedgerRecord | None:
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

    def _generator(self, params: SamplingParams, index: int) -> torch.Generator:
        if params.seed is not None:
            return torch.Generator().manual_seed(params.seed + index)
        seed = int(torch.randint(2**62, (1,), generator=self._seed))
        return torch.Generator().manual_seed(seed)

    def _wants_prompt_logprobs(self, request: Request) -> bool:
        sequence = self._sequences[request]
        return sequence.params.prompt_logprobs is not None and not sequence.prompt_done

    def _advance(self, logits: list[ChunkLogits]) -> list[RequestOutput]:
        """Sample for every chunk that ends in the last known token, and see who has finished."""
        for chunk in logits:
            sequence = self._sequences[chunk.chunk.request]
            if self._wants_prompt_logprobs(sequence.request):
                self._note_prompt_logprobs(sequence, chunk)
        sampling = [chunk for chunk in logits if chunk.chunk.samples]
        if not sampling:
            return []
        sequences = [self._sequences[chunk.chunk.request] for chunk in sampling]
        last = torch.stack([chunk.logits[-1] for chunk in sampling])
        rows = [_sampling_row(sequence) for sequence in sequences]
        now = self.clock()
        for index, (sequence, sampled) in enumerate(zip(sequences, sample(last, rows), strict=True)):
            if sampled.token is None:
                error = StepFailed(f"Request {sequence.request.request_id}: the model's logits are not numbers (NaN).")
                self._end(sequence, "error", error)
                continue
            if not sequence.prompt_done:
                self.verifier.maybe_check(sequence.request, last[index], now)
            sequence.add_token(sampled, now)
            if sequence.finish_reason is not None:
                self._end(sequence, sequence.finish_reason)
        generations = {sequence.request: self._generation(sequence) for sequence in sequences}
        return [self._output(generation) for generation in dict.fromkeys(generations.values())]

    def _note_prompt_logprobs(self, sequence: Sequence, chunk: ChunkLogits) -> None:
        count = sequence.params.prompt_logprobs
        assert count is not None
        tokens = sequence.request.tokens
        for at in range(chunk.chunk.start, min(chunk.chunk.end, sequence.request.num_prompt_tokens - 1)):
            row = chunk.logits[at - chunk.chunk.start]
            sequence.add_prompt_logprobs(at + 1, token_logprobs(row, int(tokens[at + 1]), count))

    def _generation(self, sequence: Sequence) -> Generation:
        return self._generations[sequence.request.request_id.rsplit("/", 1)[0]]

    def _fail(self, plan: StepPlan, error: Exception) -> list[RequestOutput]:
        logger.exception("A step failed; its %d requests end with an error.", len(plan.chunks))
        cause = StepFailed(f"The forward pass of this request failed: {type(error).__name__}: {error}")
        cause.__cause__ = error
        failed = [self._sequences[request] for request in self.scheduler.fail(plan, self.clock())]
        generations = dict.fromkeys(self._generation(sequence) for sequence in failed)
        for generation in generations:
            for sequence in generation.sequences:
                self._end(sequence, "error", cause)
        return [self._output(generation) for generation in generations]

    def _end(self, sequence: Sequence, reason: str, error: Exception | None = None) -> None:
        """Let go of a sequence's blocks and settle its output. Harmless if it has ended."""
        if self._sequences.pop(sequence.request, None) is None:
            return
        now = self.clock()
        self.scheduler.finish(sequence.request, now)
        sequence.finish(reason, now, error)

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
        if self.self_test is not None and not self.self_test.passed:
            logger.warning("%s", self.self_test.message)


def _sampling_row(sequence: Sequence) -> SamplingRow:
    request = sequence.request
    tokens = torch.from_numpy(request.tokens[: request.num_tokens].astype(np.int64))
    return SamplingRow(
        params=sequence.params,
        generator=sequence.generator,
        prompt=tokens[: request.num_prompt_tokens],
        output=tokens[request.num_prompt_tokens :],
        banned=sequence.banned_tokens(),
    )
