"""The ingress' end of connections: one to each replica, and who is lost when one breaks or falls silent."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from itertools import count

from foreword.cluster.failover import Tell
from foreword.cluster.fleet import NO_USAGE, Fleet
from foreword.cluster.messages import (
    Ask,
    CacheNews,
    Drop,
    FromIngress,
    FromReplica,
    Heard,
    Hello,
    Leaving,
    News,
    Noted,
    Placing,
    Refused,
    SentRequest,
    SignOfLife,
    WantSnapshot,
    Welcome,
    read_from_replica,
    written,
)
from foreword.engine.info import EngineState
from foreword.engine.request import EngineRequest
from foreword.errors import ConfigError, ForewordError, Unavailable
from foreword.outputs import Delta

logger = logging.getLogger("foreword")
LOOKS = 4
"""So many looks at a connection in a row without a sign of life make a replica silent. What keeps this process itself from
looking counts as one look, however long it takes."""
AGAIN_SECONDS = 0.5
"""Between two looks at who is there, and two attempts to reach somebody."""
Addresses = Callable[[], Awaitable[Mapping[str, str]]]
"""Asks for ``host:port`` of the replicas there are, by name."""


class Link:
    """A replica over a connection that is open; see Replica."""

    def __init__(self, welcome: Welcome, writer: asyncio.StreamWriter):
        self.welcome = welcome
        self.state = EngineState(0, 0, 0, NO_USAGE)
        self._writer = writer
        self._numbers = count()
        self._tells: dict[int, Tell] = {}

    def ask(self, request: EngineRequest, tell: Tell) -> Callable[[], None]:
        """Send a request; returns what ends it there."""
        number = next(self._numbers)
        self._tells[number] = tell
        self._send(Ask(number, SentRequest.of(request)))
        return lambda: self._drop(number)

    def want_snapshot(self) -> None:
        """Have the replica say again what its cache holds."""
        self._send(WantSnapshot())

    def pass_on(self, placing: Placing) -> None:
        """Have the replica tell other ingresses what this one has placed there."""
        self._send(placing)

    def took(self, message: FromReplica, fleet: Fleet) -> None:
        """A message has come. Unavailable where it is the last one."""
        match message:
            case News(of):
                for brought in of:
                    self._tell(brought.number, brought.delta, None if brought.fault is None else brought.fault.error())
            case CacheNews():
                fleet.cache_news(self, message)
            case Noted():
                fleet.noted(message)
            case SignOfLife(state):
                self.state = state
            case Heard(peer, of):
                fleet.heard(self, peer, of)
            case Leaving():
                fleet.leave(self)
            case Refused(why):
                raise Unavailable(why)
            case Welcome():
                raise Unavailable("It said twice who it is.")

    def _tell(self, number: int, delta: Delta | None, error: Exception | None) -> None:
        tell = self._tells.get(number)
        if tell is None:
            return
        if delta is None or delta.finished:
            del self._tells[number]
        tell(delta, error)

    def _drop(self, number: int) -> None:
        if self._tells.pop(number, None) is not None:
            self._send(Drop(number))

    def _send(self, message: FromIngress) -> None:
        if not self._writer.is_closing():
            self._writer.write(written(message))


async def open_link(
    address: str, secret: str, wants_text: bool = False
) -> tuple[Welcome, asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a replica and hear what it is. Unavailable where that fails."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError as error:
        raise Unavailable(f"{address} cannot be reached: {error}") from error
    try:
        writer.write(written(Hello(secret, wants_text)))
        async for message in read_from_replica(reader):
            if isinstance(message, Welcome):
                return message, reader, writer
            raise Unavailable(f"{address} does not want this ingress: {message}")
        raise Unavailable(f"{address} closed the connection before it said who it is.")
    except BaseException:
        writer.close()
        raise


class Links:
    """Keeps a connection to every replica there is, and tells the fleet of those that come and go.

    addresses
        Who there is. What it raises is logged; the links that are there stay.
    """

    def __init__(self, fleet: Fleet, addresses: Addresses, secret: str):
        self._fleet = fleet
        self._addresses = addresses
        self._secret = secret
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._said: dict[str, str] = {}  # what was logged last of each
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Let all connections go."""
        tasks = [self._following, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                for name, address in (await self._addresses()).items():
                    if name not in self._tasks or self._tasks[name].done():
                        self._tasks[name] = asyncio.create_task(self._keep(name, address))
                for name in [name for name, task in self._tasks.items() if task.done()]:
                    del self._tasks[name]
            except Exception as error:
                self._say("replicas", f"It cannot be asked who there is: {error!r}")
            self._fleet.look_after()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _keep(self, name: str, address: str) -> None:
        """One connection, from its beginning to its end."""
        bound = self._fleet.config.silence_seconds
        try:
            welcome, reader, writer = await asyncio.wait_for(open_link(address, self._secret), bound)
        except (Unavailable, TimeoutError, ForewordError) as error:
            self._say(name, f"Replica {name} could not be reached: {error!r}")
            return
        link, why = Link(welcome, writer), "its connection has ended"
        heard = asyncio.Event()
        watch = asyncio.create_task(_silent(heard, bound))
        reading = asyncio.create_task(self._read(link, reader, heard))
        try:
            self._fleet.join(link)
            self._say(name, f"Replica {name} has joined.")
            await asyncio.wait((watch, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            else:
                why = f"it gave no sign of life for {bound:g} s"
        except ConfigError as error:
            writer.write(written(Refused(str(error))))
            why = str(error)
        except ForewordError as error:
            why = str(error)
        finally:
            watch.cancel()
            reading.cancel()
            self._fleet.lose(link, why)
            self._say(name, f"Replica {name} is gone: {why}.")
            writer.close()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(writer.wait_closed(), 0.1)

    async def _read(self, link: Link, reader: asyncio.StreamReader, heard: asyncio.Event) -> None:
        async for message in read_from_replica(reader):
            heard.set()
            link.took(message, self._fleet)

    def _say(self, name: str, what: str) -> None:
        if self._said.get(name) != what:
            self._said[name] = what
            logger.warning("%s", what)


async def _silent(heard: asyncio.Event, bound: float) -> None:
    """Returns when nothing has been heard for so many seconds."""
    looks = 0
    while looks < LOOKS:
        await asyncio.sleep(bound / LOOKS)
        looks = 0 if heard.is_set() else looks + 1
        heard.clear()
