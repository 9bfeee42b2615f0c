"""A replica: an engine that ingresses reach over connections. Knows no Ray."""

import asyncio
import contextlib
import hmac
import logging
import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from foreword.cache import Namespace
from foreword.cache.block_hashes import BlockHashes
from foreword.cache.kv_events import STORAGE, ClearedBlocks, KVEvent, KVEventTranslator, RemovedBlocks, StoredBlocks
from foreword.cache.stored_blocks import StoredNames
from foreword.cluster.messages import (
    Ask,
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    Brought,
    CacheChange,
    CacheNews,
    Drop,
    Fault,
    FromIngress,
    FromReplica,
    Heard,
    Hello,
    Leaving,
    LoadMeasured,
    News,
    Noted,
    Placing,
    Progressed,
    Refused,
    Reserved,
    SentRequest,
    SignOfLife,
    WantSnapshot,
    Welcome,
    read_from_ingress,
    written,
)
from foreword.engine.async_llm import AsyncEngine
from foreword.engine.engine import Engine
from foreword.engine.grammars import Grammars
from foreword.engine.request import EngineRequest
from foreword.engine.tier_state import TierState
from foreword.errors import ForewordError, StepFailed, Unavailable
from foreword.events import Event, RequestFinished, StepFinished, StoreAnswered
from foreword.faults import fault_lines
from foreword.sampling_params import SamplingParams
from foreword.tokens import pack_tokens

logger = logging.getLogger("foreword")
LIFE_SECONDS = 0.25
"""Between two signs of life."""
LOOK_SECONDS = 0.05
"""Between two looks at whether what is to be ended has ended."""
GREETING_SECONDS = 10.0
"""For whoever connects to say who it is."""
MEASURED_TOKENS = 256
"""Of the prompt by which it is measured how fast prompts are computed."""
HASH = np.dtype("<u8")


async def prefill_rate(llm: AsyncEngine) -> float:
    """Prompt tokens a second that an engine computes: of the second of two prompts that nobody has asked before."""
    info = llm.info
    count = max(2, min(MEASURED_TOKENS, info.max_model_len - 1, info.cache_tokens))
    tokens = pack_tokens([(7919 * place) % info.vocab_size for place in range(count)])
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        stream = llm.submit(EngineRequest(tokens, SamplingParams(max_tokens=0), use_cache=False))
        await stream.last()
        seconds = time.perf_counter() - began
    return count / max(seconds, 1e-6)


class ReplicaServer:
    """Answers ingresses. Lives in one event loop.

    name
        Of the replica, in its fleet.
    secret
        Who does not say it is not answered.
    """

    def __init__(self, llm: AsyncEngine, name: str, secret: str, rate: float, store: str | None = None):
        self.refused: str | None = None
        """Why an ingress did not want this replica; None: none has said so."""
        self._llm = llm
        self._name = name
        self._secret = secret
        self._rate = rate
        self._store = store
        info = llm.info
        shared = Namespace(info.fingerprint).key
        self._translator = KVEventTranslator(info.num_blocks, info.block_size, shared)  # only the engine's thread uses it
        self._stored = StoredNames(info.block_size)  # as this
        self._load_rate: float | None = None  # as it was told last
        self._grammars = Grammars(llm.text.tokenizer, info.vocab_size, info.end_token_ids)
        self._loop = asyncio.get_running_loop()
        self._told: deque[_Told] = deque()
        self._due = False
        self._stepped = time.monotonic()  # when the last step ended
        self._callers: dict[_Caller, None] = {}
        self._names = count()  # of callers
        self._leaving = False
        self._unsubscribe = llm.subscribe(self._sink)
        self._server: asyncio.Server | None = None
        self._living: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int = 0) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self._living = asyncio.create_task(self._live())
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Answer nobody any more."""
        assert self._server is not None and self._living is not None
        self._server.close()
        self._living.cancel()
        for caller in list(self._callers):
            caller.writer.close()

    async def leave(self, seconds: float) -> None:
        """Take no more requests, and go on with those that there are, for so long at most."""
        self._leaving = True
        for caller in self._callers:
            caller.send(Leaving())
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(caller.busy for caller in self._callers):
            await asyncio.sleep(LOOK_SECONDS)

    async def _live(self) -> None:
        while True:
            dead = self._llm.death
            if dead is not None:
                for caller in self._callers:
                    caller.send(Refused(str(dead)))
                return
            for caller in self._callers:
                caller.send(SignOfLife(self._llm.state))
            await asyncio.sleep(LIFE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = _Caller(str(next(self._names)), self._llm, self._grammars, writer)
        greeting = self._loop.call_later(GREETING_SECONDS, lambda: None if caller.welcome else writer.close())
        try:
            async for message in read_from_ingress(reader):
                await self._took(caller, message)
        except ForewordError as error:
            logger.warning("An ingress was left: %s", error)
        finally:
            greeting.cancel()
            self._callers.pop(caller, None)
            self._pass_placing(caller, tuple(Progressed(name, ended=True) for name in caller.placed))
            caller.end()
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _took(self, caller: "_Caller", message: FromIngress) -> None:
        match message:
            case Hello(secret, wants_text):
                if not hmac.compare_digest(secret.encode(), self._secret.encode()):
                    caller.send(Refused("The secret is another one: this replica is of another fleet."))
                    raise StepFailed("somebody came without the fleet's secret")
                if self._llm.death is not None or self._leaving:
                    caller.send(Refused(str(self._llm.death or "This replica is to end.")))
                    return
                text = self._llm.text.notes() if wants_text else None
                where = socket.gethostname(), os.getpid()
                caller.send(Welcome(self._name, *where, self._llm.info, self._rate, self._store, text))
                caller.welcome = True
                for other in self._callers:
                    self._send_placing(caller, other.name, other.open_placings())
                self._callers[caller] = None
                await self._snapshot(caller)
            case _ if not caller.welcome:
                raise StepFailed("somebody asked before saying who it is")
            case Ask(number, request):
                caller.ask(number, request)
            case Drop(number):
                caller.drop(number)
            case Reserved() | Progressed():
                caller.place(message)
                self._pass_placing(caller, (message,))
            case WantSnapshot():
                await self._snapshot(caller)
            case Refused(why):
                self.refused = why
                logger.error("This replica was refused: %s", why)

    def _pass_placing(self, caller: "_Caller", of: tuple[Placing, ...]) -> None:
        """Have all other ingresses hear what one of them has placed here."""
        for other in self._callers:
            if other is not caller:
                self._send_placing(other, caller.name, of)

    def _send_placing(self, to: "_Caller", peer: str, of: tuple[Placing, ...]) -> None:
        if of:
            to.send(Heard(peer, of))

    async def _snapshot(self, caller: "_Caller") -> None:
        """Have an ingress told of all that is cached, and from then on of what changes."""

        def tell(_: Engine) -> None:  # in the engine's thread, between two steps
            cached = [_sent(record) for record in self._translator.snapshot()]
            stored = BlocksStored(_named(self._stored.snapshot()), None, STORAGE)
            rate = [] if self._load_rate is None else [LoadMeasured(self._load_rate)]
            self._tell(_Snapshot(caller, (*cached, stored, *rate)))

        with contextlib.suppress(Unavailable):
            await self._llm.call(tell)

    def _sink(self, event: Event) -> None:
        """From the engine's thread."""
        if isinstance(event, StepFinished):
            before, self._stepped = self._stepped, time.monotonic()
            self._tell(replace(event, gap=self._stepped - before))
        elif isinstance(event, RequestFinished):
            self._tell(event)
        elif isinstance(event, StoreAnswered):
            self._tell_stored(event)
        elif (change := self._translator(event)) is not None:
            self._tell(_sent(change))

    def _tell_stored(self, event: StoreAnswered) -> None:
        """From the engine's thread: what stores have of a prompt, and how fast they bring it."""
        there, gone = self._stored(event)
        if len(there):
            self._tell(BlocksStored(_named(there), None, STORAGE))
        if len(gone):
            self._tell(BlocksRemoved(_named(gone), STORAGE))
        rate = _load_rate(self._llm.tier_state)
        if rate is not None and rate != self._load_rate:
            self._load_rate = rate
            self._tell(LoadMeasured(rate))

    def _tell(self, told: "_Told") -> None:
        """From the engine's thread: have the event loop look at what there is to tell."""
        self._told.append(told)
        if not self._due:
            self._due = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        self._due = False
        blocks: list[CacheChange] = []
        steps: list[StepFinished] = []
        while self._told:
            told = self._told.popleft()
            match told:
                case _Snapshot(caller, events):
                    self._pass_blocks(blocks)
                    blocks = []
                    caller.send(CacheNews(caller.sequence - 1, events, snapshot=True))
                    caller.listens = True
                case RequestFinished(request_id):
                    owner = next((each for each in self._callers if request_id in each.names), None)
                    if owner is not None:
                        owner.send(Noted((told,), ()))
                        owner.names.discard(request_id)
                case StepFinished():
                    steps.append(told)
                case _:
                    blocks.append(told)
        self._pass_blocks(blocks)
        if steps:
            for caller in self._callers:
                caller.send(Noted((), tuple(steps)))

    def _pass_blocks(self, blocks: list[CacheChange]) -> None:
        for caller in self._callers if blocks else ():
            if caller.listens:
                caller.send(CacheNews(caller.sequence, tuple(blocks)))
                caller.sequence += 1


class _Caller:
    """One ingress: its requests, and what there is to tell it.

    placed
        What it has placed here and not ended, by request.
    """

    def __init__(self, name: str, llm: AsyncEngine, grammars: Grammars, writer: asyncio.StreamWriter):
        self.name = name
        self.writer = writer
        self.placed: dict[str, tuple[Placing, ...]] = {}
        self.welcome = False
        self.listens = False
        self.sequence = 0
        self.names: set[str] = set()
        self._llm = llm
        self._grammars = grammars
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._news: list[Brought] = []

    def send(self, message: FromReplica) -> None:
        """Have it told; nothing if it is gone."""
        if not self.writer.is_closing():
            self.writer.write(written(message))

    @property
    def busy(self) -> bool:
        """Whether it has requests here."""
        return bool(self._tasks)

    def place(self, placing: Placing) -> None:
        """It has placed a request here, or says what became of one."""
        name = placing.request_id
        if isinstance(placing, Progressed) and placing.ended:
            self.placed.pop(name, None)
        else:
            self.placed[name] = (*self.placed.get(name, ()), placing)

    def open_placings(self) -> tuple[Placing, ...]:
        """What it has placed here, as it told of it."""
        return tuple(each for told in self.placed.values() for each in told)

    def ask(self, number: int, request: SentRequest) -> None:
        """It wants a request answered."""
        task = asyncio.create_task(self._answer(number, request))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def drop(self, number: int) -> None:
        """It does not want the rest."""
        if number in self._tasks:
            self._tasks[number].cancel()

    def end(self) -> None:
        """It is gone."""
        for task in self._tasks.values():
            task.cancel()

    async def _answer(self, number: int, sent: SentRequest) -> None:
        try:
            if sent.request_id is not None:
                self.names.add(sent.request_id)
            if sent.grammar is None:
                request = sent.made_ready(self._grammars)
            else:
                request = await asyncio.to_thread(sent.made_ready, self._grammars)
            stream = self._llm.submit(request)
            try:
                finished = False
                while not finished:
                    delta = await stream.next()
                    finished = delta.finished
                    self._bring(Brought(number, delta))
            finally:
                stream.close()
        except Unavailable as error:  # the engine has died: whatever it was answering goes on elsewhere
            self.send(Refused(str(error)))
        except ForewordError as error:
            self._bring(Brought(number, fault=Fault.of(error)))
        except Exception as error:
            logger.error("A request of an ingress failed.\n%s", fault_lines(error))
            self._bring(Brought(number, fault=Fault.of(error)))

    def _bring(self, brought: Brought) -> None:
        """Have it told with all else that this turn of the event loop brings."""
        if not self._news:
            asyncio.get_running_loop().call_soon(self._send_news)
        self._news.append(brought)

    def _send_news(self) -> None:
        news, self._news = self._news, []
        self.send(News(tuple(news)))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """An ingress is to be told what there is."""

    caller: _Caller
    events: tuple[CacheChange, ...] = field(default=())


_Told = _Snapshot | RequestFinished | StepFinished | CacheChange


def _sent(change: KVEvent) -> BlocksStored | BlocksRemoved | BlocksCleared:
    match change:
        case StoredBlocks(hashes, parent):
            return BlocksStored(_named(np.array(hashes, np.uint64)), parent)
        case RemovedBlocks(hashes):
            return BlocksRemoved(_named(np.array(hashes, np.uint64)))
        case ClearedBlocks():
            return BlocksCleared()


def _named(hashes: BlockHashes) -> bytes:
    return hashes.astype(HASH).tobytes()


def _load_rate(tier: TierState | None) -> float | None:
    """Tokens a second that stores bring: of several the slowest of those that have brought something."""
    rates = [store.load_rate for store in tier.stores if store.load_rate] if tier is not None else []
    return min(rates, default=None)
