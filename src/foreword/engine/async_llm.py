"""The engine as asynchronous programs call it: AsyncEngine takes requests, AsyncLLM prompts. A server is one of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Self, TypeVar, Unpack

from foreword.config import build_config
from foreword.engine.config import EngineConfig
from foreword.engine.engine import Engine
from foreword.engine.engine_thread import EngineThread
from foreword.engine.grammars import Grammars
from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.options import EngineOptions
from foreword.engine.request import EngineRequest, Progress, check_request
from foreword.engine.stream import OnEnd, Stream
from foreword.engine.tier_state import TierState
from foreword.errors import ParameterError, Unavailable
from foreword.events import EventSink
from foreword.faults import run_carriable
from foreword.observe import Explanation, Observer, TokenReader
from foreword.outputs import Delta, RequestOutput
from foreword.prompt import Prompt, PromptInput, parse_conversation, parse_prompt
from foreword.sampling_params import SamplingParams, checked_params

T = TypeVar("T")
Message = Mapping[str, Any]


class AsyncEngine:
    """An engine in a thread of its own, which is the only one to touch it; it is made there too.

    Requests run side by side, whatever event loops they come from. After ``close`` whatever asks the engine for something
    raises Unavailable; ``abort_all`` finds nothing to end, and what never changes can still be read.
    """

    def __init__(self, make_engine: Callable[[], Engine], idle_check_seconds: float = 10.0):
        """Returns when the engine can take requests; raises what making it raises.

        After ``idle_check_seconds`` without work the cache's books are checked once.
        """
        self._thread = EngineThread(make_engine, idle_check_seconds)
        self._face = self._thread.start()
        self._grammars = Grammars(self.text.tokenizer, self.info.vocab_size, self.info.end_token_ids)

    @property
    def info(self) -> EngineInfo:
        """What never changes of the engine."""
        return self._face.info

    @property
    def text(self) -> ModelText:
        """The model's tokenizer and chat template; may be used from any thread."""
        return self._face.text

    @property
    def state(self) -> EngineState:
        """Requests and blocks after the last step."""
        return self._thread.state

    @property
    def tier_state(self) -> TierState | None:
        """The stores below the engine's memory, as they are; None where there are none."""
        return self._face.tier_state()

    @property
    def death(self) -> Exception | None:
        """Why no request is taken any more, be it ``close``; None while they are."""
        return self._thread.death

    def now(self) -> float:
        """Seconds of the engine's clock."""
        return self._face.clock()

    def submit(self, request: EngineRequest, on_end: OnEnd | None = None) -> Stream:
        """Queue a request that has been made ready, without waiting for the engine; to be called in a running event loop.

        PromptError, ParameterError and Unavailable are raised here, and nothing is queued. ``on_end`` is called once, in
        that loop, when a request that was queued has ended, however it ended.
        """
        check_request(request, self.info)
        return self._thread.submit(request, on_end)

    def abort_all(self, error: Exception) -> None:
        """End all requests before the next step; their readers get the error."""
        self._thread.abort_all(error)

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        """From the next step on tell ``sink`` too of requests, steps and blocks, in the engine's thread.

        Returns what ends that, from the step after on.
        """
        ends: list[Callable[[], None]] = []
        self._thread.leave(lambda engine: ends.append(engine.subscribe(sink)))

        def end() -> None:
            self._thread.leave(lambda _: ends[0]())

        return end

    async def call(self, function: Callable[[Engine], T]) -> T:
        """Run a function on the engine, in its thread and between two steps. Raises what it raises."""
        return await self._thread.call(function)

    def close(self) -> None:
        """End the engine after the step under way, and wait for that; whoever still reads gets Unavailable.

        Harmless a second time.
        """
        closed = f"This {type(self).__name__} has been closed; it answers no more requests. Make another one."
        self._thread.stop(Unavailable(closed))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)


class AsyncLLM(AsyncEngine):
    """An engine with its model, in a thread of its own. Options are the fields of EngineConfig.

        async with AsyncLLM("path/to/model") as llm:
            output = await llm.generate("Once upon a time")
            async for delta in llm.stream("Once upon a time"):
                print(delta.choices[0].text, end="")

    Making one loads the model. A task that is cancelled frees its blocks before the next step.
    """

    _observer: Observer | None = None

    def __init__(self, model: str | None = None, **options: Unpack[EngineOptions]):
        observer = Observer()
        config = build_config(EngineConfig, {"model": model, **options}, "option of AsyncLLM")
        super().__init__(lambda: _build(config, observer))
        self._observer = observer

    @classmethod
    def over(cls, make_engine: Callable[[], Engine], idle_check_seconds: float = 10.0) -> Self:
        """One over an engine of the caller's: see AsyncEngine. It has no observer, and explains nothing."""
        llm = cls.__new__(cls)
        super(AsyncLLM, llm).__init__(make_engine, idle_check_seconds)
        return llm

    async def generate(
        self, prompt: PromptInput, sampling_params: SamplingParams | None = None, *, resume: Progress | None = None
    ) -> RequestOutput:
        """Answer a prompt, given in any form that LLM.generate takes. Raises what keeps it from being answered.

        ``resume``: how far another engine has come with it; see EngineRequest.
        """
        stream = await self._submit(prompt, sampling_params, False, resume)
        try:
            await stream.last()
            return stream.output()
        finally:
            stream.close()

    async def chat(
        self,
        messages: Sequence[Message],
        sampling_params: SamplingParams | None = None,
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        cache_conversation: str | None = None,
    ) -> RequestOutput:
        """Answer a conversation. Messages have ``role`` and ``content``; the chat template renders them: see LLM.chat."""
        said = parse_conversation(cache_conversation)
        prompt = await self.render_chat(
            messages, add_generation_prompt, tools=tools, chat_template_kwargs=chat_template_kwargs
        )
        return await self.generate(replace(prompt, conversation=said), sampling_params)

    async def render_chat(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """A conversation as a prompt, by the model's chat template. ModelError when it has none."""
        self._check_open()
        text, given = self.text, list(messages)
        return await _aside(
            lambda: text.chat_prompt(given, add_generation_prompt, datetime.now(), tools, chat_template_kwargs)
        )

    def get_default_sampling_params(self) -> SamplingParams:
        """What the model's generation_config.json recommends. A call takes it only where it is given it."""
        return self.info.default_sampling

    async def stream(
        self, prompt: PromptInput, sampling_params: SamplingParams | None = None, *, resume: Progress | None = None
    ) -> AsyncGenerator[Delta]:
        """Answer a prompt piece by piece: each delta has what is new. Who leaves the loop early closes the iterator.

        (``contextlib.aclosing`` does; a task that is cancelled while it waits does, too.) ``resume``: how far another engine
        has come with it, which is not told again; see EngineRequest.
        """
        stream = await self._submit(prompt, sampling_params, True, resume)
        try:
            finished = False
            while not finished:
                delta = await stream.next()
                finished = delta.finished
                yield delta
        finally:
            stream.close()

    def abort(self, request_id: str) -> None:
        """End a request before the next step; nothing if it has ended. Its reader gets StepFailed."""
        self._check_open()
        self._thread.abort(request_id)

    async def explain(self, request_id: str) -> Explanation:
        """Why a finished request hit or missed, with the texts that part there; the id is that of its RequestOutput.

        NotFoundError when it is unknown or, after some thousand others, forgotten.
        """
        self._check_open()
        observer = self._observer
        if observer is None:
            raise ParameterError("This AsyncLLM stands over an engine of your own and observes nothing; subscribe to it.")
        return await self.call(lambda engine: observer.explain(request_id, TokenReader(engine.text.tokenizer.decode)))

    async def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes. Running requests go on."""
        await self.call(lambda engine: engine.reset_prefix_cache())

    async def _submit(
        self, given: PromptInput, params: SamplingParams | None, stream: bool, resume: Progress | None
    ) -> Stream:
        self._check_open()
        prompt, sampling = parse_prompt(given), checked_params(params)
        wanted, grammars = sampling.structured_outputs, self._grammars
        grammar = None if wanted is None else await _aside(lambda: grammars.of(wanted))
        tokens = await _aside(lambda: self.text.tokens(prompt))
        request = EngineRequest(
            tokens,
            sampling,
            text=prompt.text,
            cache_salt=prompt.cache_salt,
            conversation=prompt.conversation,
            stream=stream,
            grammar=grammar,
            resume=resume,
        )
        return self.submit(request)

    def _check_open(self) -> None:
        if self.death is not None:
            raise Unavailable(str(self.death)) from self.death


async def _aside(function: Callable[[], T]) -> T:
    """Make a prompt in another thread: it takes time."""
    return await asyncio.to_thread(run_carriable, function, "Making the prompt")


def _build(config: EngineConfig, observer: Observer) -> Engine:
    from foreword.engine import build_engine  # needs torch, and says so; an engine of other parts may not

    return build_engine(config, observer)
