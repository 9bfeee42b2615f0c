"""LLM: the engine as people call it from their programs."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Self, Unpack

from tqdm import tqdm

from foreword.account import Account
from foreword.config import build_config
from foreword.engine.config import EngineConfig
from foreword.engine.engine import STORE_SECONDS, Engine, StepOutcome, StepState
from foreword.engine.generation import Generation
from foreword.engine.grammars import Grammars
from foreword.engine.options import EngineOptions
from foreword.engine.request import EngineRequest
from foreword.errors import InputError, ParameterError, Unavailable
from foreword.observe import Explanation, Observer, TokenReader
from foreword.outputs import RequestMetrics, RequestOutput
from foreword.prompt import Prompt, PromptInput, group_by_prefix, parse_conversation, parse_prompt
from foreword.sampling_params import SamplingParams, checked_params

Message = Mapping[str, Any]
Params = SamplingParams | Sequence[SamplingParams] | None


class LLM:
    """An engine with its model. Options are the fields of EngineConfig; the first argument is the model.

        llm = LLM()                                   # the table reader in the package
        with LLM("path/to/model", max_num_seqs=16) as llm:
            ...

    Not thread-safe, and without threads of its own: nothing runs between calls. After ``close`` every call raises
    Unavailable.
    """

    _engine: Engine | None
    _observer: Observer

    def __init__(self, model: str | None = None, **options: Unpack[EngineOptions]):
        from foreword.engine import build_engine  # needs torch, and says so; an engine of other parts may not

        observer = Observer()
        config = build_config(EngineConfig, {"model": model, **options}, "option of LLM")
        self._begin(build_engine(config, observer), observer)

    @property
    def engine(self) -> Engine:
        """The engine itself, for measurements and tests of Foreword; its methods may change."""
        if self._engine is None:
            raise Unavailable("This LLM has been closed; make another one.")
        return self._engine

    def generate(
        self,
        prompts: PromptInput | Sequence[PromptInput],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Answer prompts; returns one output for each, in order. They run in the order of their shared prefixes.

        A prompt is a string, ``{"prompt": ...}`` or ``{"prompt_token_ids": [...]}``, both with an optional
        ``"cache_salt"``, and ``"cache_conversation"``: ``"goes_on"`` or ``"ended"``, by which the cache knows what to keep;
        or what ``render_chat`` gives. A single prompt that cannot be answered raises its error; in a list
        the others are answered, and the output of the one has ``error`` set and no continuation.
        """
        if isinstance(prompts, str | Mapping | Prompt):
            outputs = self._run([prompts], _one_each(sampling_params, 1), use_tqdm=False)
            if outputs[0].error is not None:
                raise outputs[0].error
            return outputs
        return self._run(list(prompts), _one_each(sampling_params, len(prompts)), use_tqdm)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = True,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        cache_conversation: str | None = None,
    ) -> list[RequestOutput]:
        """Answer a conversation, or several. Messages have ``role`` and ``content``; the chat template renders them.

        ``tools``: functions that the model is told of, ``{"type": "function", "function": {...}}``; a call is a part of the
        text. ``chat_template_kwargs``: variables of the template's own (``enable_thinking`` and the like).
        ``cache_conversation``: ``"goes_on"`` or ``"ended"``, by which the cache knows what to keep.
        """
        said = parse_conversation(cache_conversation)

        def rendered(conversation: Any) -> Prompt:
            prompt = self.render_chat(
                conversation, add_generation_prompt, tools=tools, chat_template_kwargs=chat_template_kwargs
            )
            return replace(prompt, conversation=said)

        if messages and isinstance(messages[0], Mapping):
            return self.generate(rendered(messages), sampling_params, use_tqdm=False)
        return self.generate([rendered(conversation) for conversation in messages], sampling_params, use_tqdm=use_tqdm)

    def stream(self, prompt: PromptInput, sampling_params: SamplingParams | None = None) -> Iterator[RequestOutput]:
        """Answer one prompt, giving what there is after every token. Leaving the loop aborts the request."""
        generation = self._add(parse_prompt(prompt), checked_params(sampling_params), stream=True)
        shown = 0
        try:
            while True:
                while generation.num_output_tokens == shown and not generation.finished:
                    self._step()
                if generation.error is not None:
                    raise generation.error
                shown, finished = generation.num_output_tokens, generation.finished
                yield generation.output()
                if finished:
                    return
        finally:
            self._abort(generation)

    def render_chat(
        self,
        messages: Any,
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """A conversation as a prompt, by the model's chat template; see ``chat``. ModelError when the model has none."""
        text, now = self.engine.text, datetime.now()
        return text.chat_prompt(list(messages), add_generation_prompt, now, tools, chat_template_kwargs)

    def get_default_sampling_params(self) -> SamplingParams:
        """What the model's generation_config.json recommends. A call takes it only where it is given it."""
        return self.engine.info.default_sampling

    def get_tokenizer(self) -> Any:
        """The model's tokenizer, as transformers loads it."""
        return self.engine.text.original()

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes."""
        self.engine.reset_prefix_cache()

    def explain(self, request_id: str) -> Explanation:
        """Why a finished request hit or missed, with the texts that part there; the id is that of its RequestOutput.

        NotFoundError when it is unknown or, after some thousand others, forgotten.
        """
        return self._observer.explain(request_id, TokenReader(self.engine.text.tokenizer.decode))

    def close(self) -> None:
        """Let go of the model and its memory; what is cached goes to the store, if there is one.

        Open streams end with Unavailable. Harmless a second time.
        """
        if self._engine is not None:
            self._engine.close(STORE_SECONDS)
        self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, engine: Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._grammars = Grammars(engine.text.tokenizer, engine.info.vocab_size, engine.info.end_token_ids)
        self._bell = threading.Event()
        engine.on_arrival(self._bell.set)

    def _run(self, prompts: list[PromptInput], params: list[SamplingParams], use_tqdm: bool) -> list[RequestOutput]:
        outputs: dict[int, RequestOutput] = {}
        places: dict[Generation, int] = {}
        try:
            for place, prompt in self._in_running_order(prompts, outputs):
                try:
                    places[self._add(prompt, params[place], stream=False)] = place
                except InputError as error:
                    outputs[place] = _refused(prompts[place], error)
            with tqdm(total=len(prompts), initial=len(outputs), unit="prompt", disable=not use_tqdm) as bar:
                while len(outputs) < len(prompts):
                    for generation in self._step().news:
                        if generation.finished and generation in places:
                            outputs[places[generation]] = generation.output()
                            bar.update()
        finally:
            for generation in places:
                self._abort(generation)
        return [outputs[place] for place in range(len(prompts))]

    def _step(self) -> StepOutcome:
        """One step; sleeps while what all requests wait for is brought by others."""
        self._bell.clear()
        outcome = self.engine.step()
        if outcome.state is StepState.AWAITING:
            self._bell.wait()
        return outcome

    def _in_running_order(
        self, prompts: Sequence[PromptInput], refused: dict[int, RequestOutput]
    ) -> list[tuple[int, Prompt]]:
        """Place in the batch and prompt of each, by shared prefixes; what is no prompt goes to ``refused``."""
        accepted, text = [], self.engine.text
        for place, given in enumerate(prompts):
            try:
                accepted.append((place, text.tokenized(parse_prompt(given))))
            except InputError as error:
                refused[place] = _refused(given, error)
        scopes = [prompt.cache_salt for _, prompt in accepted]
        return group_by_prefix([text.tokens(prompt) for _, prompt in accepted], scopes).arrange(accepted)

    def _add(self, prompt: Prompt, params: SamplingParams, stream: bool) -> Generation:
        tokens = self.engine.text.tokens(prompt)
        grammar = self._grammars.of(params.structured_outputs)
        request = EngineRequest(
            tokens,
            params,
            text=prompt.text,
            cache_salt=prompt.cache_salt,
            conversation=prompt.conversation,
            stream=stream,
            grammar=grammar,
        )
        return self.engine.add_request(request)

    def _abort(self, generation: Generation) -> None:
        if self._engine is not None and not generation.finished:
            self._engine.abort(generation.request_id)


class LLMOverEngine(LLM):
    """An LLM over an engine that was made elsewhere; what that engine tells goes to the LLM from now on."""

    def __init__(self, engine: Engine):
        observer = Observer()
        engine.subscribe(observer)
        self._begin(engine, observer)


def _one_each(given: Params, count: int) -> list[SamplingParams]:
    if given is None or not isinstance(given, Sequence):
        return [checked_params(given)] * count
    if len(given) != count:
        raise ParameterError(f"{len(given)} sampling_params for {count} prompts; give one, or one each.")
    return [checked_params(each) for each in given]


def _refused(prompt: PromptInput, error: InputError) -> RequestOutput:
    """The output of a request that was not accepted."""
    return RequestOutput(
        request_id="",
        prompt=prompt if isinstance(prompt, str) else None,
        prompt_token_ids=[],
        prompt_logprobs=None,
        outputs=[],
        finished=True,
        metrics=RequestMetrics(0.0, None, None, 0),
        account=Account(0),
        error=error,
    )
