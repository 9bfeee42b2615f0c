"""Connections: how many a server has at a time, who makes room for a new one, and who has waited too long.

A connection proves itself step by step: first the head of a request comes, then its body, then it waits for an answer.
Whoever has come least far, and of these the one that has been at it longest, makes room; whoever waits for an answer never.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from foreword.server.limited_log import LimitedLog
from foreword.serving.config import ServerConfig


class Stage(IntEnum):
    """How far a connection has come; the lowest makes room first."""

    HEAD = 0
    """The head of a request is awaited: its first one, or one that has begun."""
    IDLE = 1
    """It has been answered, and may ask again."""
    BODY = 2
    """The body of a request is awaited."""
    ANSWER = 3
    """A request is being answered."""


STOOD_STILL = 1.0
"""Seconds between two looks after which the machine, not the client, was slow: what has come meanwhile is read first."""

WAITED_FOR = {
    Stage.HEAD: "the head of its request had not come",
    Stage.IDLE: "it was idle",
    Stage.BODY: "the body of its request had not come",
}


class Connection(Protocol):
    """One connection, as the others' keeper sees it. Times are seconds of the event loop's clock."""

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        ...

    @property
    def since(self) -> float:
        """When it has come so far."""
        ...

    @property
    def closing(self) -> bool:
        """Whether it is to be closed already."""
        ...

    @property
    def peer(self) -> str:
        """The client's address."""
        ...

    def refuse(self, status: int, why: str) -> None:
        """Close; where a request has begun, say why."""
        ...

    def turn_away(self, why: str) -> None:
        """Say why, and close: it has just come."""
        ...

    def look_after(self, now: float) -> None:
        """Note whether what was sent is read, and whether a client that has stopped sending is still there."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for each thing that a client may keep waiting for; see ServerConfig."""

    header: float
    body: float
    send: float

    @classmethod
    def of(cls, config: ServerConfig) -> "Patience":
        """That of a server's options."""
        return cls(config.header_timeout, config.body_timeout, config.send_timeout)


class Connections:
    """The open connections of one server, ``most`` at a time. Lives in the event loop."""

    def __init__(self, most: int, patience: Patience, log: LimitedLog):
        self.most = most
        self.patience = patience
        self._log = log
        self._open: set[Connection] = set()
        self._looked_at: float | None = None

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """A client has connected: if there are too many now, one makes room, or the new one is turned away."""
        others = [each for each in self._open if not each.closing] if len(self._open) >= self.most else []
        self._open.add(connection)
        if len(others) < self.most:
            return
        first = min(others, key=lambda each: (each.stage, each.since))
        full = f"{self.most} connections are open, the most there may be"
        if first.stage is Stage.ANSWER:
            self._log.warn("connection turned away", connection.peer, reason=f"{full}; all wait for an answer.")
            connection.turn_away(f"{full}. Try again in a moment.")
        else:
            self._log.warn("connection made room", first.peer, reason=f"{full}; {WAITED_FOR[first.stage]}.")
            first.refuse(503, f"{full}. Try again in a moment.")

    def lost(self, connection: Connection) -> None:
        """A connection has been closed."""
        self._open.discard(connection)

    def look_after(self, now: float) -> None:
        """Give up whoever keeps the server waiting; to be called several times a second."""
        before, self._looked_at = self._looked_at, now
        stood_still = before is not None and now - before > STOOD_STILL
        if stood_still:
            return
        for connection in list(self._open):
            connection.look_after(now)
            if connection.closing:
                continue
            waited, patience = now - connection.since, self.patience
            if connection.stage is Stage.HEAD and waited > patience.header:
                self._give_up(connection, "slow head", f"The head of a request did not come within {patience.header:g} s.")
            elif connection.stage is Stage.BODY and waited > patience.body + 1:  # the gate answers before that
                self._give_up(connection, "slow body", f"The body of a request did not come within {patience.body:g} s.")

    def _give_up(self, connection: Connection, event: str, why: str) -> None:
        self._log.warn(event, connection.peer, reason=why)
        connection.refuse(408, why)
