"""LLM: the engine as people call it from their programs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from tqdm import tqdm

from foreword.account import Account
from foreword.cache import pack_tokens
from foreword.config import build_config
from foreword.engine.config import EngineConfig
from foreword.engine.detokenizer import prompt_template
from foreword.engine.engine import Engine
from foreword.engine.verify import VerifyReport
from foreword.errors import InputError, ModelError, ParameterError
from foreword.observe import Explanation, Observer, TokenReader
from foreword.outputs import RequestMetrics, RequestOutput
from foreword.prompt import Prompt, PromptInput, group_by_prefix, parse_prompt
from foreword.prompt.template import PromptTemplate
from foreword.sampling_params import SamplingParams

Message = Mapping[str, Any]


class LLM:
    """An engine with its model. Options are the fields of EngineConfig; the first argument is the model.

        llm = LLM()                                   # the table reader in the package
        llm = LLM("path/to/model", max_num_seqs=16)

    Not thread-safe, and without threads of its own: nothing runs between calls.
    """

    def __init__(self, model: str | None = None, **options: Any):
        self.engine = Engine(build_config(EngineConfig, {"model": model, **options}, "option of LLM"))
        self.observer = Observer()
        self.engine.subscribe(self.observer)
        self._unread: dict[str, RequestOutput | None] = {}

    def generate(
        self,
        prompts: PromptInput | Sequence[PromptInput],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Answer prompts; returns one output for each, in order. They run in the order of their shared prefixes.

        A prompt is a string, ``{"prompt": ...}`` or ``{"prompt_token_ids": [...]}``, both with an optional
        ``"cache_salt"``. A single prompt that cannot be answered raises its error; in a list the others are answered, and
        the output of the one has ``error`` set and no continuation.
        """
        if isinstance(prompts, str | Mapping):
            outputs = self._run([prompts], self._params(sampling_params, 1), use_tqdm=False)
            if outputs[0].error is not None:
                raise outputs[0].error
            return outputs
        return self._run(list(prompts), self._params(sampling_params, len(prompts)), use_tqdm)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        add_generation_prompt: bool = True,
    ) -> list[RequestOutput]:
        """Answer a conversation, or several. Messages have ``role`` and ``content``; the chat template renders them."""
        if messages and isinstance(messages[0], Mapping):
            return self.generate(self.render_chat(messages, add_generation_prompt), sampling_params, use_tqdm=False)
        prompts = [self.render_chat(conversation, add_generation_prompt) for conversation in messages]
        return self.generate(prompts, sampling_params, use_tqdm=use_tqdm)

    def stream(self, prompt: PromptInput, sampling_params: SamplingParams | None = None) -> Iterator[RequestOutput]:
        """Answer one prompt, giving what there is after every token. Leaving the loop aborts the request."""
        parsed = parse_prompt(prompt)
        request_id = self._add(parsed, self._tokens(parsed), sampling_params or SamplingParams(), stream=True)
        self._unread[request_id] = None
        try:
            while True:
                while (output := self._unread[request_id]) is None:
                    self._step()
                self._unread[request_id] = None
                if output.error is not None:
                    raise output.error
                yield output
                if output.finished:
                    return
        finally:
            del self._unread[request_id]
            self.engine.abort(request_id)

    def get_tokenizer(self) -> Any:
        """The model's tokenizer, as transformers loads it."""
        return self.engine.model.tokenizer

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes."""
        self.engine.reset_prefix_cache()

    def verify_report(self) -> VerifyReport:
        """What ``verify_cache`` has found so far."""
        return self.engine.verify_report()

    def explain(self, request_id: str) -> Explanation:
        """Why a finished request hit or missed, with the texts that part there; the id is that of its RequestOutput.

        NotFoundError when it is unknown or, after some thousand others, forgotten.
        """
        return self.observer.explain(request_id, TokenReader(self.get_tokenizer().decode))

    def _params(self, given: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
        if given is None or isinstance(given, SamplingParams):
            return [given or SamplingParams()] * count
        if len(given) != count:
            raise ParameterError(f"{len(given)} sampling_params for {count} prompts; give one, or one each.")
        return list(given)

    def _run(self, prompts: list[PromptInput], params: list[SamplingParams], use_tqdm: bool) -> list[RequestOutput]:
        outputs: dict[int, RequestOutput] = {}
        places: dict[str, int] = {}
        try:
            for place, prompt, ids in self._in_running_order(prompts, outputs):
                try:
                    places[self._add(prompt, ids, params[place], stream=False)] = place
                except InputError as error:
                    outputs[place] = _refused(prompts[place], error)
            with tqdm(total=len(prompts), initial=len(outputs), unit="prompt", disable=not use_tqdm) as bar:
                while len(outputs) < len(prompts):
                    for output in self._step():
                        if output.finished and output.request_id in places:
                            outputs[places[output.request_id]] = output
                            bar.update()
        finally:
            for request_id, place in places.items():
                if place not in outputs:
                    self.engine.abort(request_id)
        return [outputs[place] for place in range(len(prompts))]

    def _step(self) -> list[RequestOutput]:
        """One step; what belongs to an open stream is kept for it, whoever made the step."""
        outputs = self.engine.step()
        self._unread.update({output.request_id: output for output in outputs if output.request_id in self._unread})
        return outputs

    def _in_running_order(
        self, prompts: Sequence[PromptInput], refused: dict[int, RequestOutput]
    ) -> Iterator[tuple[int, Prompt, list[int]]]:
        """Place in the batch, prompt and token ids of each, by shared prefixes; what is no prompt goes to ``refused``."""
        accepted = []
        for place, given in enumerate(prompts):
            try:
                prompt = parse_prompt(given)
                ids = self._tokens(prompt)
                pack_tokens(ids)
                accepted.append((place, prompt, ids))
            except InputError as error:
                refused[place] = _refused(given, error)
        scopes = [prompt.cache_salt for _, prompt, _ in accepted]
        yield from group_by_prefix([ids for _, _, ids in accepted], scopes).arrange(accepted)

    def _tokens(self, prompt: Prompt) -> list[int]:
        if prompt.token_ids is not None:
            return prompt.token_ids
        return self.engine.model.tokenizer.encode(prompt.text)  # type: ignore[no-any-return]

    def _add(self, prompt: Prompt, ids: list[int], params: SamplingParams, stream: bool) -> str:
        return self.engine.add_request(ids, params, text=prompt.text, cache_salt=prompt.cache_salt, stream=stream)

    def render_chat(self, messages: Any, add_generation_prompt: bool = True) -> PromptInput:
        """A conversation as a prompt, by the model's chat template. ModelError when it has none."""
        if not getattr(self.engine.model.tokenizer, "chat_template", None) or self._template is None:
            raise ModelError(
                f"The tokenizer of {self.engine.model.name!r} has no chat template; use generate() with a prompt that is "
                f"written out, or add chat_template.jinja to the model's directory."
            )
        text = self._template.render(list(messages), add_generation_prompt=add_generation_prompt, now=datetime.now())
        return {"prompt_token_ids": self._template.encode(text), "prompt": text}

    @cached_property
    def _template(self) -> PromptTemplate | None:
        return prompt_template(self.engine.model.tokenizer)


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
