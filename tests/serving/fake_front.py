"""An engine that answers as a test says: in the event loop, without a model."""

import asyncio
import io
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from foreword.account import Account, Source
from foreword.cache import ModelFingerprint, Usage
from foreword.engine.info import EngineInfo, EngineState
from foreword.engine.model_text import ModelText
from foreword.engine.request import EngineRequest
from foreword.engine.stream import RequestEnd
from foreword.engine.tier_state import TierState
from foreword.errors import StepFailed
from foreword.events import EventRelay, EventSink
from foreword.outputs import ChoiceDelta, Delta, RequestMetrics
from foreword.prompt.tokenizer import HubTokenizer
from foreword.sampling_params import SamplingParams
from foreword.serving.neutral import NeutralRequest

INFO = EngineInfo(
    model_name="fake",
    max_model_len=100,
    vocab_size=1000,
    num_blocks=20,
    block_size=4,
    bytes_per_token=2.0,
    max_num_seqs=2,
    prefix_caching=True,
    end_token_ids=frozenset({1}),
    fingerprint=ModelFingerprint("weights"),
)


@dataclass
class FakeStream:
    """The answer to one request, as a test tells it. What is told before it is read waits."""

    front: "FakeFront"
    request: EngineRequest
    on_end: Callable[[RequestEnd], None]
    cached: int = 0
    told: deque[Delta | Exception] = field(default_factory=deque)
    closed: bool = False
    ended: bool = False
    tokens: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, text: str = "", index: int = 0, finish: str | None = None, last: bool | None = None, **more: Any) -> None:
        """A token of one continuation. ``last``: the whole request ends with it (default: as the continuation does)."""
        self.tokens += 1
        choice = ChoiceDelta(index, text, (self.tokens,), finish_reason=finish, **more)
        finished = finish is not None if last is None else last
        self.told.append(Delta(self.request.request_id or "", (choice,), self.account, self.metrics, finished))
        self.news.set()
        if finished:
            self.end(finish or "stop")

    def fail(self, error: Exception) -> None:
        """The request ends with an error."""
        self.told.append(error)
        self.news.set()
        self.end("error", error)

    def end(self, outcome: str, error: Exception | None = None) -> None:
        if not self.ended:
            self.ended = True
            self.on_end(RequestEnd(outcome, self.tokens, self.account, self.metrics, error))

    async def next(self) -> Delta:
        while not self.told:
            self.news.clear()
            await self.news.wait()
        found = self.told.popleft()
        if isinstance(found, Exception):
            raise found
        return found

    def give_up(self, error: Exception) -> None:
        self.told.clear()
        self.told.append(error)
        self.news.set()
        self.close()

    def close(self) -> None:
        self.closed = True
        self.end("abort", StepFailed("The request was aborted."))

    @property
    def account(self) -> Account:
        length = len(self.request.tokens) // 4
        return Account(length, {Source.CACHED: self.cached, Source.COMPUTED: length - self.cached})

    @property
    def metrics(self) -> RequestMetrics:
        return RequestMetrics(0.0, self.front.clock if self.tokens else None, None, 0)


class FakeFront:
    """Keeps what it was given: ``streams`` in order. ``clock`` is turned by the test; ``refuses`` is raised at a submit.

    ``answers``: each request is answered with this text, as soon as it is submitted; None: not before the test tells it to.
    """

    def __init__(self, info: EngineInfo = INFO):
        self.info = info
        self.state = EngineState(0, 0, 0, Usage(0, 0, 0, 0, 0, 0))
        self.tier_state: TierState | None = None
        self.death: Exception | None = None
        self.text = words()
        self.clock = 0.0
        self.streams: list[FakeStream] = []
        self.refuses: Exception | None = None
        self.answers: str | None = None
        self.events = EventRelay()

    def now(self) -> float:
        return self.clock

    def submit(self, request: EngineRequest, on_end: Callable[[RequestEnd], None]) -> FakeStream:
        if self.refuses is not None:
            raise self.refuses
        self.streams.append(FakeStream(self, request, on_end))
        if self.answers is not None:
            asyncio.get_running_loop().call_soon(partial(self.streams[-1].tell, self.answers, finish="stop"))
        return self.streams[-1]

    def abort_all(self, error: Exception) -> None:
        for stream in self.streams:
            stream.fail(error)

    def subscribe(self, sink: EventSink) -> Callable[[], None]:
        self.events.add(sink)
        return partial(self.events.remove, sink)

    def close(self) -> None:
        self.abort_all(StepFailed("closed"))


def words() -> ModelText:
    """The tokenizer of a model of three words."""
    words = Tokenizer(WordLevel({"?": 0, "the": 1, "quick": 2, "fox": 3}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    return ModelText(HubTokenizer(words))


def neutral(prompt: str | tuple[int, ...] = (1, 2, 3, 4), name: str = "r", n: int = 1, **more: Any) -> NeutralRequest:
    """A request for a few tokens."""
    return NeutralRequest(name, "alice", "fake", prompt, SamplingParams(max_tokens=8, n=n), **more)


def lines(text: io.StringIO) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in text.getvalue().splitlines()]
