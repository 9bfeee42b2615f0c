"""A fleet of engines in this process, over connections of loopback: replicas can be cut off, held up and brought back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from foreword.cluster.config import FleetConfig
from foreword.cluster.fleet import Fleet
from foreword.cluster.ingress import open_ingress
from foreword.cluster.replica import ReplicaServer
from foreword.engine import Engine, EngineRequest
from foreword.engine.async_llm import AsyncEngine
from foreword.engine.stream import RequestEnd
from foreword.outputs import Delta

SECRET = "of a test"


@dataclass
class Member:
    """A replica: its engine, its server, and the address at which it is announced."""

    llm: AsyncEngine
    server: ReplicaServer
    pipe: "Pipe"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.pipe.port}"


class Pipe:
    """Stands before a replica's port and passes bytes on; while held up it passes none, as a process that is stopped."""

    def __init__(self, port: int):
        self.port = 0
        self.flows = asyncio.Event()
        self.flows.set()
        self._behind = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._behind)
        for ends in ((reader, forth), (back, writer)):
            task = asyncio.create_task(self._pass(*ends))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                await self.flows.wait()
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


class SmallFleet:
    """``members`` by name; those of ``announced`` are named to the ingress."""

    def __init__(self, make: Callable[[], Engine], config: FleetConfig, store: str | None, prefill_rate: float):
        self.members: dict[str, Member] = {}
        self.announced: set[str] = set()
        self.fleet: Fleet
        self._make = make
        self._config = config
        self._store = store
        self._prefill_rate = prefill_rate

    async def addresses(self) -> dict[str, str]:
        return {name: self.members[name].address for name in sorted(self.announced)}

    async def add(self, name: str, make: Callable[[], Engine] | None = None) -> None:
        """Another replica."""
        llm = AsyncEngine(make or self._make)
        server = ReplicaServer(llm, name, SECRET, self._prefill_rate, self._store)
        pipe = Pipe(await server.start("127.0.0.1"))
        await pipe.start()
        self.members[name] = Member(llm, server, pipe)
        self.announced.add(name)

    async def cut(self, name: str) -> None:
        """A replica is gone with all its connections, in the midst of whatever it does."""
        self.announced.discard(name)
        await self.members[name].server.close()
        await self.members[name].pipe.close()

    def hold(self, name: str) -> None:
        """A replica says nothing any more, and hears nothing; its connections stay open."""
        self.members[name].pipe.flows.clear()

    def let_go(self, name: str) -> None:
        """One that was held up goes on where it was."""
        self.members[name].pipe.flows.set()

    @asynccontextmanager
    async def another_ingress(self) -> AsyncIterator[Fleet]:
        """A second front of the same replicas, to which all of them have joined."""
        ingress = await open_ingress(self.addresses, SECRET, self._config)
        async with asyncio.timeout(20):
            while set(ingress.fleet.replicas) != self.announced:
                await asyncio.sleep(0.01)
        try:
            yield ingress.fleet
        finally:
            await ingress.close()

    async def have_joined(self, *names: str) -> None:
        """Wait until just these replicas have joined."""
        async with asyncio.timeout(20):
            while set(self.fleet.replicas) != set(names):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def small_fleet(
    make: Callable[[], Engine],
    *names: str,
    silence_seconds: float = 5.0,
    failover_seconds: float = 5.0,
    store: str | None = None,
    prefill_rate: float = 1000.0,
) -> AsyncIterator[SmallFleet]:
    """Replicas of these names, all joined; they say that they compute so many tokens a second."""
    config = FleetConfig(silence_seconds=silence_seconds, failover_seconds=failover_seconds)
    made = SmallFleet(make, config, store, prefill_rate)
    for name in names:
        await made.add(name)
    ingress = await open_ingress(made.addresses, SECRET, config)
    made.fleet = ingress.fleet
    await made.have_joined(*names)
    try:
        yield made
    finally:
        await ingress.close()
        for member in made.members.values():
            await member.server.close()
            await member.pipe.close()
            await asyncio.to_thread(member.llm.close)


async def answer(
    fleet: Fleet, request: EngineRequest, each: Callable[[list[Delta]], object] = lambda _: None
) -> list[Delta]:
    """All that a fleet tells of a request; ``each`` is called after every piece of news."""
    ends: list[RequestEnd] = []
    stream = fleet.submit(request, ends.append)
    told: list[Delta] = []
    try:
        while not told or not told[-1].finished:
            told.append(await stream.next())
            done = each(told)
            if asyncio.iscoroutine(done):
                await done
    finally:
        stream.close()
    return told
