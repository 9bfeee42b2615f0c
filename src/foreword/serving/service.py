"""What both dialects call: a neutral request in, an answer or a stream of updates out. Knows no HTTP."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from foreword.account import Account
from foreword.cache import Mark, pack_tokens
from foreword.engine import Engine, RequestOutput
from foreword.engine.engine_thread import EngineRequest, EngineThread
from foreword.errors import NotFoundError, Overloaded, ParameterError, PromptError, TimedOut, Unavailable
from foreword.events import Event, RequestFinished, StepFinished
from foreword.observe import BlockLives
from foreword.prompt.chat import PromptForm
from foreword.serving.config import ServerConfig, Share
from foreword.serving.diagnosis import AnsweredRequest, diagnose
from foreword.serving.log import Log
from foreword.serving.metrics import Metrics
from foreword.serving.neutral import Answer, CacheMode, Diagnosis, NeutralRequest, Usage
from foreword.serving.observation import Observation
from foreword.serving.remembered import Remembered
from foreword.serving.rendering import PromptRenderer, RenderedPrompt, is_short
from foreword.serving.stream import OpenRequest, UpdateStream

T = TypeVar("T")


class Service:
    """One model behind one engine thread. Lives in the event loop; every method is to be called from there."""

    def __init__(self, thread: EngineThread, engine: Engine, config: ServerConfig, metrics: Metrics, log: Log):
        self.config = config
        self.metrics = metrics
        self.model_name = config.served_model_name or engine.model.name
        self.max_model_len = engine.max_model_len
        self.draining = False
        self.created = int(time.time())
        self._thread = thread
        self._log = log
        self._renderer = PromptRenderer(engine.model.tokenizer, self.model_name)
        self.observation = Observation(engine, self._renderer, config.min_cached_tokens)
        self._clock = engine.clock
        self._block_lives = BlockLives(engine.cache.config.num_blocks, engine.config.block_size)
        engine.subscribe(self._take_event)
        self._prompts = ThreadPoolExecutor(1, thread_name_prefix="foreword-prompts")
        self._open: set[OpenRequest] = set()
        self._sequences = 0  # of requests taken, those whose prompts are still being rendered too
        self._recent: Remembered[AnsweredRequest] = Remembered(config.remembered_answers)
        self._max_sequences = engine.config.max_num_seqs + config.max_queue
        self._caches = engine.config.enable_prefix_caching
        self._room = min(engine.max_model_len, engine.cache.config.num_blocks * engine.config.block_size + 1)

    @property
    def open_requests(self) -> int:
        """Requests that have been taken and have not ended."""
        return len(self._open)

    @property
    def engine_death(self) -> Exception | None:
        """What ended the engine; None while it runs."""
        return self._thread.death

    @property
    def unavailable(self) -> str | None:
        """Why no request can be taken now; None when it can."""
        if self._thread.death is not None:
            return str(self._thread.death)
        return "The server is shutting down." if self.draining else None

    async def answer(self, request: NeutralRequest) -> Answer:
        """Answer a request whole. Leaving early (cancellation) aborts it."""
        stream = await self.open(replace(request, stream=False))
        try:
            return await stream.last()
        finally:
            stream.close()

    async def open(self, request: NeutralRequest) -> UpdateStream:
        """Take a request and return its updates. Raises all that can be known before the first token.

        NotFoundError for another model, PromptError and ParameterError, Overloaded, Unavailable, TimedOut.
        """
        arrival = time.monotonic()
        deadline = asyncio.get_running_loop().time() + self.config.request_timeout
        self._check(request)
        self._sequences += request.sampling.n
        try:
            return await self._take(request, arrival, deadline)
        except BaseException:
            self._sequences -= request.sampling.n
            raise

    async def _take(self, request: NeutralRequest, arrival: float, deadline: float) -> UpdateStream:
        find_public_part = self.config.share == Share.PUBLIC_PREFIX
        prompt = await self.render(request.prompt, find_public_part)
        if self.config.max_prompt_tokens is not None and len(prompt.token_ids) > self.config.max_prompt_tokens:
            raise PromptError(
                f"The prompt has {len(prompt.token_ids)} tokens; this server takes {self.config.max_prompt_tokens}."
            )
        if request.cache.keep_seconds is not None:
            end = Mark(len(prompt.token_ids), request.cache.keep_seconds)
            prompt = replace(prompt, marks=(*prompt.marks, end))
        opened = OpenRequest(request, prompt, arrival, deadline, self._uses_cache(request, prompt))
        self._open.add(opened)
        self.observation.asked(request.request_id, request.tenant, request.prompt)
        try:
            async with asyncio.timeout_at(deadline):
                outputs = await self._thread.submit(
                    self._engine_request(opened), lambda output, error: self._end(opened, output, error)
                )
        except BaseException as error:
            self._open.discard(opened)
            if isinstance(error, TimeoutError):
                raise TimedOut("The engine did not take the request in time. Try again later.") from None
            raise
        return UpdateStream(opened, outputs, self._diagnose)

    async def count_tokens(self, prompt: PromptForm) -> int:
        """How many tokens a prompt has, as ``open`` would render it."""
        return len((await self.render(prompt)).token_ids)

    async def render(self, prompt: PromptForm, find_public_part: bool = False) -> RenderedPrompt:
        """Render and tokenize a prompt; what may take long, off the event loop."""
        if is_short(prompt) and not find_public_part:
            return self._renderer.render(prompt)
        return await self._in_prompt_thread(lambda: self._renderer.render(prompt, find_public_part))

    async def text_of(self, prompt: PromptForm) -> str:
        """A prompt's text, also where it was given as token ids."""
        rendered = await self.render(prompt)
        if rendered.text is not None:
            return rendered.text
        return await self._in_prompt_thread(lambda: self._renderer.decode(rendered.token_ids))

    async def drain(self) -> None:
        """Take no new requests; wait for the open ones, and end those that take longer than the configured time."""
        self.draining = True
        end = time.monotonic() + self.config.drain_timeout
        while self._open and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self._thread.abort_all(Unavailable("The server is shutting down; this request took too long to wait for."))

    def log_start(self, address: tuple[str, int]) -> None:
        """Note where the server listens."""
        host, port = address
        self._log.info("serving", url=f"http://{host}:{port}", model=self.model_name, share=self.config.share)

    def log_failure(self, path: str, error: Exception) -> None:
        """Note a fault of ours."""
        self._log.error("failure", path=path, exc_info=error)

    def check_model(self, name: str) -> None:
        """NotFoundError unless ``name`` is the served model."""
        if name != self.model_name:
            raise NotFoundError(f"The model {name!r} is not served here; this server has {self.model_name!r}.")

    def _check(self, request: NeutralRequest) -> None:
        if self.unavailable:
            raise Unavailable(self.unavailable)
        self.check_model(request.model)
        if request.sampling.n > self.config.max_choices:
            raise ParameterError(f"n is {request.sampling.n}; this server makes at most {self.config.max_choices} choices.")
        if self._sequences + request.sampling.n > self._max_sequences:
            raise Overloaded(f"{self._sequences} answers are being made, and the queue is full. Try again in a moment.")

    async def _in_prompt_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._prompts, function)

    def _uses_cache(self, request: NeutralRequest, prompt: RenderedPrompt) -> bool:
        if request.cache.mode is CacheMode.EXPLICIT and not prompt.marks:
            return False
        return self._caches and len(prompt.token_ids) >= self.config.min_cached_tokens

    def _engine_request(self, opened: OpenRequest) -> EngineRequest:
        request, prompt = opened.request, opened.prompt
        room = self._room - len(prompt.token_ids)
        sampling = request.sampling
        if sampling.max_tokens > room > 0:
            sampling = replace(sampling, max_tokens=room, min_tokens=min(sampling.min_tokens, room))
        return EngineRequest(
            request_id=request.request_id,
            prompt=prompt.token_ids,
            params=sampling,
            text=prompt.text,
            tenant=None if self.config.share == Share.ALL else request.tenant,
            cache_salt=request.cache.salt,
            public_tokens=prompt.public_tokens,
            marks=prompt.marks,
            use_cache=opened.uses_cache,
            stream=request.stream,
        )

    def _diagnose(self, opened: OpenRequest, usage: Usage) -> Diagnosis | None:
        request = opened.request
        if request.cache.compare_with is None:
            return None
        earlier = self._recent.get(request.tenant, request.cache.compare_with)
        return diagnose(request, pack_tokens(opened.prompt.token_ids), usage, earlier)

    def _take_event(self, event: Event) -> None:
        """From the engine's thread, while it works."""
        if isinstance(event, StepFinished):
            self.metrics.token_gaps.step(event.generating, self._clock())
        elif not isinstance(event, RequestFinished):
            for life in self._block_lives(event, self._clock()):
                self.metrics.block(life)
        self.observation.sink(event)

    def _end(self, opened: OpenRequest, output: RequestOutput | None, error: Exception | None) -> None:
        """A request that the engine had taken has ended: count it, log it, and remember it if it was answered."""
        request, now = opened.request, time.monotonic()
        outcome = "error" if output is None else output.outputs[0].finish_reason or "error"
        tokens = 0 if output is None else sum(len(answer.token_ids) for answer in output.outputs)
        if output is not None:
            self.metrics.prompt(request.tenant, output.account, opened.uses_cache)
            first = output.metrics.first_token_time
            if first is not None:
                self.metrics.first_token(first - opened.arrival)  # the engine's clock is time.monotonic, as ours
        if error is None:
            packed = pack_tokens(opened.prompt.token_ids)
            size = 4 * len(packed) + 1000
            self._recent.add(request.tenant, request.request_id, AnsweredRequest(request, packed), size)
        self.metrics.ended(request.tenant, outcome, error is None, tokens, now - opened.arrival)
        fields = {
            "request_id": request.request_id,
            "tenant": request.tenant,
            "outcome": outcome,
            **({} if output is None else _logged_account(output.account)),
            "output_tokens": tokens,
            "seconds": round(now - opened.arrival, 4),
        }
        if self.config.log_prompts:
            fields["prompt"] = opened.prompt.text
        if error is not None and outcome != "abort":
            self._log.error("request", error=str(error), **fields)
        else:
            self._log.info("request", **fields)
        if opened in self._open:
            self._open.remove(opened)
            self._sequences -= request.sampling.n
        self.observation.digest()


def _logged_account(account: Account) -> dict[str, object]:
    return {**account.in_tokens(), "miss_reason": None if account.miss_reason is None else account.miss_reason.value}
