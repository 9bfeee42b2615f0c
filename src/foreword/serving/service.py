"""What both dialects call: a neutral request in, an answer or a stream of updates out. Knows no HTTP."""

import asyncio
from dataclasses import replace

from foreword.cache import Mark
from foreword.engine.grammars import Grammars
from foreword.engine.request import EngineRequest
from foreword.engine.stream import RequestEnd
from foreword.engine.token_mask import Grammar
from foreword.errors import Overloaded, ParameterError, PromptError, PromptTooLong, Unavailable
from foreword.prompt.chat import ChatPrompt, PromptForm
from foreword.prompt.client_heads import ClientHeads, settled_heads
from foreword.prompt.media import Media, readable
from foreword.sampling_params import SamplingParams
from foreword.serving.answer_grammar import AnswerGrammars, needs_grammar
from foreword.serving.answers import AnswerReading
from foreword.serving.config import ServerConfig, Share
from foreword.serving.front import EngineFront
from foreword.serving.journal import Journal
from foreword.serving.neutral import UNLIMITED, Answer, CacheMode, NeutralRequest
from foreword.serving.prompt_thread import PromptThread
from foreword.serving.rendering import RenderedPrompt
from foreword.serving.served_model import ServedModel
from foreword.serving.stream import OpenRequest, UpdateStream


class Service:
    """One model behind one engine. Lives in the event loop; every method is to be called from there."""

    def __init__(
        self, front: EngineFront, prompts: PromptThread, journal: Journal, config: ServerConfig, model: ServedModel
    ):
        self.config = config
        self.model = model
        self._front = front
        self._answers = AnswerReading(front.text, config, journal.reader_failed)
        grammars = Grammars(front.text.tokenizer, front.info.vocab_size, front.info.end_token_ids)
        self._grammars = AnswerGrammars(grammars, self._answers.form, self._answers.special)
        self._prompts = prompts
        self._journal = journal
        self._open: set[OpenRequest] = set()
        self._choices = 0  # of requests taken, those whose prompts are still being rendered too
        self._draining = False

    @property
    def default_sampling(self) -> SamplingParams:
        """What a request is sampled with where it says nothing."""
        return self._front.info.default_sampling

    @property
    def open_requests(self) -> int:
        """Requests that have been given to the engine and have not ended."""
        return len(self._open)

    @property
    def unavailable(self) -> str | None:
        """Why no request can be taken now; None when it can."""
        if self._front.death is not None:
            return str(self._front.death)
        return "The server is shutting down." if self._draining else None

    async def answer(self, request: NeutralRequest) -> Answer:
        """Answer a request whole. Leaving early (cancellation) aborts it."""
        stream = await self.open(replace(request, stream=False))
        try:
            return await stream.last()
        finally:
            stream.close()

    async def open(self, request: NeutralRequest) -> UpdateStream:
        """Take a request and return its updates. Raises all that can be known before the first token.

        NotFoundError for another model, PromptError and ParameterError, Overloaded, Unavailable.
        """
        arrival = self._front.now()
        self._check(request)
        self._choices += request.sampling.n
        try:
            settled = self._settled(request.prompt)
            if settled is not request.prompt:
                request = replace(request, prompt=settled)
            prompt = await self._render(request)
            grammar = await self._grammar(request, prompt)
            predicted = await self._predicted(request.prediction)
        except BaseException:
            self._choices -= request.sampling.n
            raise
        opened = OpenRequest(request, prompt, arrival, self.config.request_timeout, self._uses_cache(request, prompt))
        self._open.add(opened)
        try:
            self._journal.begins(opened)
            deltas = self._front.submit(
                self._engine_request(opened, grammar, predicted), lambda end: self._ended(opened, end)
            )
        except BaseException:
            self._let_go(opened)
            raise
        return UpdateStream(
            opened, deltas, self._front.now, self._journal.diagnose, lambda: self._answers.reader(request, prompt)
        )

    async def count_tokens(self, prompt: PromptForm) -> int:
        """How many tokens a prompt has, as ``open`` would render it."""
        return (await self._prompts.render(self._settled(prompt))).num_tokens

    def token(self, token_id: int) -> tuple[str, bytes]:
        """What a token adds to a text, and the same in bytes."""
        tokenizer = self._front.text.tokenizer
        return tokenizer.token_text(token_id), tokenizer.token_bytes(token_id)

    async def text_of(self, prompt: PromptForm) -> str:
        """A prompt's text, also where it was given as token ids."""
        return await self._prompts.text_of(prompt)

    async def drain(self) -> None:
        """Take no new requests; wait for the open ones, and end those that take longer than the configured time."""
        self._draining = True
        end = self._front.now() + self.config.drain_timeout
        while self._open and self._front.now() < end:
            await asyncio.sleep(0.02)
        self._front.abort_all(Unavailable("The server is shutting down; this request took too long to wait for."))

    def _check(self, request: NeutralRequest) -> None:
        if self.unavailable:
            raise Unavailable(self.unavailable)
        self.model.check_name(request.model)
        if request.sampling.n > self.config.max_choices:
            raise ParameterError(f"n is {request.sampling.n}; this server makes at most {self.config.max_choices} choices.")
        room = self._front.info.max_num_seqs + self.config.max_queue
        if self._choices + request.sampling.n > room:
            raise Overloaded(f"This server makes and queues {room} answers at a time, and is full. Try again in a moment.")

    def _settled(self, prompt: PromptForm) -> PromptForm:
        """A conversation as the operator wants it: what becomes of what clients write at its head, and of images.

        PromptError for an image that is to be refused.
        """
        if not isinstance(prompt, ChatPrompt):
            return prompt
        return readable(settled_heads(prompt, ClientHeads(self.config.client_heads)), Media(self.config.images))

    async def _render(self, request: NeutralRequest) -> RenderedPrompt:
        find_public_part = self.config.share == Share.PUBLIC_PREFIX
        prompt = await self._prompts.render(request.prompt, find_public_part)
        most = min(self._front.info.cache_tokens, self.config.max_prompt_tokens or UNLIMITED)
        if prompt.num_tokens > most:
            raise PromptTooLong(
                f"The prompt has {prompt.num_tokens} tokens; this server takes {most}.", prompt.num_tokens, most
            )
        if request.cache.keep_seconds is not None:
            end = Mark(prompt.num_tokens, request.cache.keep_seconds)
            prompt = replace(prompt, marks=(*prompt.marks, end))
        return prompt

    def _uses_cache(self, request: NeutralRequest, prompt: RenderedPrompt) -> bool:
        if request.cache.mode is CacheMode.EXPLICIT and not prompt.marks:
            return False
        return self._front.info.prefix_caching and prompt.num_tokens >= self.config.min_cached_tokens

    async def _grammar(self, request: NeutralRequest, prompt: RenderedPrompt) -> Grammar | None:
        """The grammar of an answer, made beside the event loop; None where any text will do."""
        if not needs_grammar(request):
            return None
        return await self._prompts.grammar(request.tenant, lambda: self._grammars.of(request, prompt.text or ""))

    async def _predicted(self, text: str) -> bytes:
        """What a client predicts, in tokens. ParameterError where that is more than any answer, or no text."""
        if not text:
            return b""
        try:
            return await self._prompts.tokens_of(text)
        except PromptTooLong as error:
            raise ParameterError(
                f"prediction has at least {error.tokens} tokens, but prompt and answer together may have {error.most}. "
                f"Leave out what is not in the answer."
            ) from None
        except PromptError as error:
            raise ParameterError(f"prediction cannot be what is answered: {error}") from None

    def _engine_request(self, opened: OpenRequest, grammar: Grammar | None, predicted: bytes) -> EngineRequest:
        request, prompt, info = opened.request, opened.prompt, self._front.info
        room = min(info.max_model_len, info.cache_tokens + 1) - prompt.num_tokens
        sampling = request.sampling
        if sampling.max_tokens > room > 0:
            sampling = replace(sampling, max_tokens=room, min_tokens=min(sampling.min_tokens, room))
        return EngineRequest(
            tokens=prompt.tokens,
            params=sampling,
            request_id=request.request_id,
            text=prompt.text,
            tenant=None if self.config.share == Share.ALL else request.tenant,
            cache_salt=request.cache.salt,
            asked_by=request.tenant,
            public_tokens=prompt.public_tokens,
            marks=prompt.marks,
            conversation=request.cache.conversation,
            use_cache=opened.uses_cache,
            stream=request.stream,
            shown_tokens=self._answers.shown_tokens(request),
            grammar=grammar,
            predicted=predicted,
        )

    def _ended(self, opened: OpenRequest, end: RequestEnd) -> None:
        self._let_go(opened)
        self._journal.ended(opened, end)

    def _let_go(self, opened: OpenRequest) -> None:
        self._open.remove(opened)
        self._choices -= opened.request.sampling.n
